"""States of the trainable weights: on the way, in between, at random, and their change as a sketch.

A state is what `Student.state_dict` gives: the trainable parameters by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from compact_bench.student.student import Student
from compact_bench.training.checkpoint import save_tensors
from compact_bench.training.trainer import Progress

State = Mapping[str, Tensor]
SKETCH = 4096  # numbers; a cosine of two sketches has a standard deviation of about 1/64


@contextmanager
def holding(student: Student, state: State) -> Iterator[None]:
    """Gives the student other weights inside, bit for bit its own after."""
    own = student.state_dict()
    student.load_state_dict(state)
    try:
        yield
    finally:
        student.load_state_dict(own)


def scaled(start: State, end: State, share: float) -> dict[str, Tensor]:
    """start + share (end - start). Of adapters B A only B is scaled: both would give share^2.

    With fresh adapters B starts at 0, so that share 0 is the student as it was.
    """
    return {
        name: end[name] if "lora_A" in name else old.lerp(end[name], share)
        for name, old in start.items()
    }


def at_random(start: State, end: State, seed: int) -> dict[str, Tensor]:
    """A state as far from `start` as `end` is, tensor by tensor, in a random direction.

    Normal numbers scaled to each tensor's norm of the change. Of adapters A stays as it was drawn
    at the start and B is random, so that the change has the rank of the trained one.
    """
    draw = torch.Generator().manual_seed(seed)
    state = {}
    for name, old in start.items():
        if "lora_A" in name:
            state[name] = old
            continue
        noise = torch.randn(old.shape, generator=draw, dtype=torch.float32)
        size = (end[name] - old).float().norm().cpu() / noise.norm()
        state[name] = old + (noise * size).to(old)
    return state


def changes(start: State, end: State) -> Iterator[Tensor]:
    """The change of each weight matrix: of adapters that of the product B A."""
    for name, old in start.items():
        if "lora_B" in name:
            low = name.replace("lora_B", "lora_A")
            yield end[name].float() @ end[low].float() - old.float() @ start[low].float()
        elif "lora_A" not in name:
            yield end[name].float() - old.float()


def sketch(start: State, end: State) -> Tensor:
    """(SKETCH,) float32: a count sketch of the change; inner products of sketches estimate its own.

    Each weight is added with a random sign to a random place, the same ones for every student of
    the same shape. Unbiased, with a variance of about |x|^2 |y|^2 / SKETCH.

    Source: Charikar, Chen & Farach-Colton 2002.
    """
    total = torch.zeros(SKETCH, dtype=torch.float64)
    for number, change in enumerate(changes(start, end)):
        flat = change.flatten().cpu()
        draw = torch.Generator().manual_seed(number)
        place = torch.randint(SKETCH, flat.shape, generator=draw)
        sign = torch.randint(2, flat.shape, generator=draw) * 2 - 1
        total.index_add_(0, place, (flat * sign).double())
    return total.float()


class Snapshots:
    """Keeps the weights at shares of a training on disk; a cell that is resumed finds them there.

    tag: of the method's code, so that what another version of it left is not taken for its own.
    """

    def __init__(self, student: Student, folder: Path, shares: Sequence[float], tag: str) -> None:
        self.student = student
        self.folder = folder
        self.paths = {share: folder / f"at-{share:g}-{tag}.safetensors" for share in shares}

    def watching(self, progress: Progress) -> Progress:
        """`progress`, before which a step that reaches a share has the weights written."""

        def write_and_report(event: dict[str, Any]) -> None:
            if event["event"] == "step":
                for share, path in self.paths.items():
                    if event["share"] >= share and not path.exists():
                        save_tensors(path, self.student.trainable(), {})
            progress(event)

        return write_and_report

    def states(self) -> Iterator[tuple[float, State]]:
        """Shares and weights, in the order of the training."""
        for share, path in sorted(self.paths.items()):
            if path.exists():
                yield share, load_file(path, device=str(self.student.device))

    def remove(self) -> None:
        """Removes the files, which are no longer needed."""
        for path in self.folder.glob("at-*.safetensors"):
            path.unlink()
