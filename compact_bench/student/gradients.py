"""Gradients of parts of a batch, over the trainable parameters, as flat vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from compact_bench.student.batch import Batch, Output, TeacherGradients, uniform

Forward = Callable[[Batch], Output]


def by_slot(forward: Forward, parameters: Sequence[Tensor], batch: Batch) -> tuple[Tensor, Output]:
    """See `Student.gradients`."""
    out = forward(batch)
    counts = batch.present.sum(0).clamp_min(1)  # (R,)
    rows = []
    for r in range(out.nll.shape[1]):
        loss = out.nll[:, r].sum() / counts[r]
        rows.append(_flat(loss, parameters, retain=r + 1 < out.nll.shape[1]))
    return torch.stack(rows), out


def by_teacher(forward: Forward, parameters: Sequence[Tensor], batch: Batch) -> TeacherGradients:
    """See `Student.teacher_gradients`."""
    teachers = batch.teacher[batch.present].unique()
    if not len(teachers):
        raise ValueError("no rationale is present in this batch")
    average = uniform(batch.present)  # (B,R)
    share, loss = average.new_zeros(len(teachers)), average.new_zeros(len(teachers))
    # Filled row by row: a stack of vectors would hold all of them twice.
    gradient = average.new_zeros(len(teachers), sum(p.numel() for p in parameters))
    nll = torch.zeros_like(average)
    for k, teacher in enumerate(teachers):
        rows = batch.teacher == teacher
        out = forward(batch.restrict(rows))
        part = average * rows
        own = (part * out.nll).sum() / part.sum()
        gradient[k] = _flat(own, parameters)
        share[k], loss[k] = part.sum() / len(batch.questions), own.detach()
        nll = torch.where(rows, out.nll.detach(), nll)
    return TeacherGradients(batch, teachers, share, loss, gradient, nll)


def scale(parameters: Sequence[Tensor], factor: float) -> None:
    """Multiplies the gradients that are there."""
    if factor != 1:
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.mul_(factor)


def _flat(loss: Tensor, parameters: Sequence[Tensor], retain: bool = False) -> Tensor:
    """(P,) float32: a scalar's gradient; 0 where it doesn't depend on a parameter."""
    grads = torch.autograd.grad(loss, parameters, retain_graph=retain, allow_unused=True)
    flat = [
        (torch.zeros_like(p) if g is None else g).flatten().float()
        for g, p in zip(grads, parameters, strict=True)
    ]
    return torch.cat(flat)
