"""What a student's forwards cost, the same in every batch layout."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any


@dataclass
class Cost:
    """Running totals.

    tokens: real tokens, the prompt counted for every row read. physical_tokens: what the
    machine computed, padding included and shared prefixes once. supervised_tokens: target
    tokens of forwards with gradient. teacher_tokens: those that a teacher, or a person, wrote.
    flops: 2N a token forward, +2N backward through frozen weights or +4N in full training, N being
    the parameters that a token passes.
    """

    tokens: int = 0
    physical_tokens: int = 0
    supervised_tokens: int = 0
    teacher_tokens: int = 0
    flops: float = 0.0

    def as_dict(self) -> dict[str, float]:
        """The totals by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def load(self, totals: dict[str, float]) -> None:
        """Takes back what `as_dict` gave."""
        for f in fields(self):
            setattr(self, f.name, type(getattr(self, f.name))(totals[f.name]))


def parameters_passed(model: Any) -> int:
    """N: all parameters but the input embedding, which is looked up, not multiplied.

    A tied embedding counts once, as the head.
    """
    embedding = model.get_input_embeddings().weight
    head = model.get_output_embeddings()
    tied = head is not None and head.weight is embedding
    total = sum(p.numel() for p in model.parameters())
    return int(total if tied else total - embedding.numel())
