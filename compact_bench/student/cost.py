"""What a student's forwards cost, the same in every batch layout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any


@dataclass
class Cost:
    """Running totals.

    tokens: real tokens, the prompt counted for every row read. physical_tokens: what the
    machine computed, padding included and shared prefixes once. supervised_tokens: target
    tokens of forwards with gradient. teacher_tokens: those that a teacher, or a person, wrote.
    flops: 2N a token forward, +2N backward through frozen weights or +4N in full training, N being
    the parameters that a token passes. selection_tokens: those of `tokens` that were spent on
    choosing what to train on or which student to keep, and not on training what is kept.
    sampled_tokens: tokens that the student wrote in training (not in evaluation).
    """

    tokens: int = 0
    physical_tokens: int = 0
    supervised_tokens: int = 0
    teacher_tokens: int = 0
    flops: float = 0.0
    selection_tokens: int = 0
    sampled_tokens: int = 0

    def __post_init__(self) -> None:
        self._selecting = False

    @contextmanager
    def selecting(self) -> Iterator[None]:
        """What is counted inside is counted as spent on choosing, too."""
        before, self._selecting = self._selecting, True
        try:
            yield
        finally:
            self._selecting = before

    def count(
        self, tokens: int, physical: int, flops: float, supervised: int = 0, teacher: int = 0
    ) -> None:
        """Adds one pass to the totals."""
        self.tokens += tokens
        self.physical_tokens += physical
        self.supervised_tokens += supervised
        self.teacher_tokens += teacher
        self.flops += flops
        self.selection_tokens += tokens if self._selecting else 0

    def discard(self, tokens: int) -> None:
        """Counts tokens that were spent already as spent on choosing: their result isn't kept."""
        self.selection_tokens += tokens

    def as_dict(self) -> dict[str, float]:
        """The totals by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def load(self, totals: Mapping[str, float]) -> None:
        """Takes back what `as_dict` gave.

        A total that an older checkpoint doesn't have is 0: it was not counted then.
        """
        for f in fields(self):
            setattr(self, f.name, type(getattr(self, f.name))(totals.get(f.name, 0)))


def parameters_passed(model: Any) -> int:
    """N: all parameters but the input embedding, which is looked up, not multiplied.

    A tied embedding counts once, as the head.
    """
    embedding = model.get_input_embeddings().weight
    head = model.get_output_embeddings()
    tied = head is not None and head.weight is embedding
    total = sum(p.numel() for p in model.parameters())
    return int(total if tied else total - embedding.numel())
