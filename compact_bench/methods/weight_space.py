"""Trained weights as one vector: changes from a start, and how much each weight matters.

P: trainable parameters, in the order of the student's `trainable()`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from compact_bench.utils.lazy import Tensor, torch

if TYPE_CHECKING:
    from compact_bench.student.batch import Batch
    from compact_bench.student.student import Student


def flat(state: Mapping[str, Tensor]) -> Tensor:
    """(P,) float32: the tensors of a state one after the other; keeps their gradient."""
    return torch.cat([value.flatten().float() for value in state.values()])


def unflatten(vector: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state whose `flat` is the vector (P,), in the shapes of `like`."""
    parts = vector.split([value.numel() for value in like.values()])
    return {n: part.view_as(like[n]) for n, part in zip(like, parts, strict=True)}


def squared_change(parameters: Mapping[str, Tensor], start: Mapping[str, Tensor]) -> Tensor:
    """|W - W_0|^2 summed over the trained matrices: a scalar with gradient.

    Of adapters, a matrix's change is the product B A (times a constant, left out here), not its
    two factors: |B A - B_0 A_0|^2, from products of r x r numbers.
    """
    total = next(iter(parameters.values())).new_zeros(())
    for name, value in parameters.items():
        if "lora_B" in name:
            continue
        if "lora_A" not in name:
            total = total + (value - start[name]).square().sum()
            continue
        other = name.replace("lora_A", "lora_B")
        a = torch.cat([value, start[name]])  # (2r,I)
        b = torch.cat([parameters[other], -start[other]], dim=1)  # (O,2r)
        total = total + ((b.T @ b) * (a @ a.T)).sum()
    return total


def rationale_gradients(student: Student, batch: Batch) -> Iterator[tuple[int, int, Tensor]]:
    """(b, r, gradient) for each present rationale: (P,) float32, of its mean NLL a token.

    One forward and backward pass each, which count as any other.
    """
    for b, r in batch.present.nonzero().tolist():
        alone = torch.zeros_like(batch.present)
        alone[b, r] = True
        yield b, r, student.teacher_gradients(batch.restrict(alone)).gradient[0]


def diagonal_fisher(student: Student, batch: Batch) -> Tensor:
    """(P,) float32: mean over the present texts of (d log p(text | question) / d theta)^2.

    log p is the sum over the text's tokens. The texts are the batch's and not drawn from the
    student: the empirical Fisher information.
    """
    size = sum(p.numel() for p in student.trainable().values())
    total, count = torch.zeros(size, device=student.device), int(batch.present.sum())
    for b, r, gradient in rationale_gradients(student, batch):
        total += (len(batch.rationale_ids[b][r]) * gradient).square() / count
    return total
