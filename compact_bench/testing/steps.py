"""Checks of single steps, while the student stands still: B questions, R rationales a question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from compact_bench.student.batch import Batch
from compact_bench.testing.training import NOTHING
from compact_bench.testing.workbench import Seen, Workbench, reference_run

LOSS_TOLERANCE = 1e-4  # of a loss of some nats in float32; sums run in another order

WEIGHT_TOLERANCE = 1e-3

GRADIENT_TOLERANCE = 1e-3  # of its length

NO_WEIGHTS = "its steps have no weights (Step.weights is None)"

DRAWS = "it draws from the batch's generator, so that another shape or order changes what is drawn"


def gradient(bench: Workbench) -> str:
    """each step leaves a gradient that is finite and not 0"""
    # One that is NaN or infinite never gets here: the trainer raises Diverged.
    for number, seen in enumerate(bench.reference, 1):
        assert bool(seen.gradient.any()), (
            f"step {number}: expected a gradient in the student's parameters, got 0 everywhere "
            "(backward calls step.loss.backward(), or student.add_gradient)"
        )
    return "" if bench.reference else NOTHING


def weights(bench: Workbench) -> str:
    """weights are (B,R), detached, and sum to 1 over the question's rationales, 0 where absent"""
    for number, seen, found in _weighted(bench.reference):
        present = seen.batch.present
        assert found.shape == present.shape, (
            f"step {number}: expected weights of shape {tuple(present.shape)}, "
            f"got {tuple(found.shape)}"
        )
        assert not found.requires_grad, (
            f"step {number}: expected detached weights, got some with a gradient"
        )
        total = (found * present).sum(-1)
        assert torch.allclose(total, torch.ones_like(total), atol=1e-4), (
            f"step {number}: expected weights that sum to 1 over what is present, "
            f"got the sums {_text(total)}"
        )
        _nothing_absent(number, found, present)
    return _reason(bench.reference)


def one_rationale(bench: Workbench) -> str:
    """a question's only rationale gets the whole weight"""
    seen_steps = bench.watch(_only_one)
    for number, seen, found in _weighted(seen_steps):
        expected = seen.batch.present.to(found)
        assert torch.allclose(found, expected, atol=1e-5), (
            f"step {number}, one rationale a question: expected weights {_text(expected)}, "
            f"got {_text(found)}"
        )
    return _reason(seen_steps)


def missing_teachers(bench: Workbench) -> str:
    """questions may lack different teachers: what is absent has no weight and changes nothing"""
    others = bench.watch(_with_ghost)
    for number, seen, found in _weighted(others):
        _nothing_absent(number, found, seen.batch.present)
    if not _draws(bench.reference):
        _compare(bench.reference, others, "with one more absent rationale", slice(None, -1))
    return "" if others else NOTHING


def permutation(bench: Workbench) -> str:
    """another order of a question's rationales permutes the weights, and changes nothing else"""
    if not bench.reference:
        return NOTHING
    if _draws(bench.reference):
        return DRAWS
    others = bench.watch(lambda batch: _in_order(batch, _rolled(batch)))
    # Slot r holds what slot r - 1 held, so that rolling back undoes it.
    back = [_rolled(seen.batch, -1) for seen in others]
    _compare(bench.reference, others, "with the rationales in another order", back)
    return ""


def layouts(bench: Workbench) -> str:
    """the padded and the shared layout of a batch give the same numbers"""
    if bench.padded:
        return "it knows one layout only (layout = 'padded')"
    if not bench.reference:
        return NOTHING
    _compare(bench.reference, bench.watch(layout="padded"), "in the padded layout", slice(None))
    return ""


def random_state(bench: Workbench) -> str:
    """selecting and training leave the global random states of torch, numpy and Python alone"""
    moved = reference_run(bench)[1]
    assert not moved, (
        f"global random state: expected it to be left alone, got draws from {', '.join(moved)} "
        "(draw with batch.generator, or with a generator of the method's own)"
    )
    return ""


# --- batches, changed -----------------------------------------------------------------------


def _in_order(batch: Batch, order: Sequence[int]) -> Batch:
    """The batch with the given slots, (R') of them; an absent slot holds its question's first
    rationale, which no method may look at."""

    def columns(rows: list[list]) -> list[list]:
        return [[row[r] if r < len(row) else row[0] for r in order] for row in rows]

    return replace(
        batch,
        teacher=batch.teacher[:, list(order)],
        sample=batch.sample[:, list(order)],
        rationale_ids=columns(batch.rationale_ids),
        body_end=columns(batch.body_end),
        answer_start=columns(batch.answer_start),
        step_ends=columns(batch.step_ends),
    )


def _rolled(batch: Batch, by: int = 1) -> list[int]:
    size = batch.teacher.shape[1]
    return [(r - by) % size for r in range(size)]


def _with_ghost(batch: Batch) -> Batch:
    """The batch with one slot more, in which the first rationale stands but is absent."""
    size = batch.teacher.shape[1]
    wider = _in_order(batch, [*range(size), 0])
    return wider.restrict((torch.arange(size + 1) < size).expand_as(wider.teacher))


def _only_one(batch: Batch) -> Batch:
    """The batch with one rationale a question: in turn its first and its last."""
    rows = torch.zeros_like(batch.present)
    for b, present in enumerate(batch.present):
        rows[b, present.nonzero()[-1 if b % 2 else 0]] = True
    return batch.restrict(rows)


# --- what was seen --------------------------------------------------------------------------


def _weighted(steps: Sequence[Seen]) -> list[tuple[int, Seen, Tensor]]:
    """The steps that have weights, with their number from 1 and the weights."""
    return [
        (number, seen, seen.step.weights)
        for number, seen in enumerate(steps, 1)
        if seen.step.weights is not None
    ]


def _reason(steps: Sequence[Seen]) -> str:
    if not steps:
        return NOTHING
    return "" if _weighted(steps) else NO_WEIGHTS


def _draws(steps: Sequence[Seen]) -> bool:
    return any(seen.drew for seen in steps)


def _nothing_absent(number: int, found: Tensor, present: Tensor) -> None:
    absent = found[~present]
    assert not absent.any(), (
        f"step {number}: expected weight 0 for absent rationales, got {_text(absent)}"
    )


def _compare(
    expected: Sequence[Seen], found: Sequence[Seen], when: str, slots: slice | Sequence[list[int]]
) -> None:
    """Loss, weights and gradient of each step; slots: which of the found weights to compare."""
    assert len(found) == len(expected), f"{when}: expected {len(expected)} steps, got {len(found)}"
    for number, (one, two) in enumerate(zip(expected, found, strict=True), 1):
        where = f"step {number}, {when}"
        losses = float(one.step.loss), float(two.step.loss)
        assert abs(losses[0] - losses[1]) <= LOSS_TOLERANCE * (1 + abs(losses[0])), (
            f"{where}: expected the loss {losses[0]:.6f}, got {losses[1]:.6f}"
        )
        if one.step.weights is not None and two.step.weights is not None:
            chosen = slots if isinstance(slots, slice) else slots[number - 1]
            weights = two.step.weights[:, chosen]
            assert torch.allclose(weights, one.step.weights, atol=WEIGHT_TOLERANCE), (
                f"{where}: expected the weights {_text(one.step.weights)}, got {_text(weights)}"
            )
        gap = float((two.gradient - one.gradient).norm() / one.gradient.norm().clamp_min(1e-30))
        assert gap <= GRADIENT_TOLERANCE, (
            f"{where}: expected the same gradient, got one that is off by {gap:.1e} of its length"
        )


def _text(values: Tensor) -> str:
    """Numbers for a reader."""
    if values.dim() > 1:
        return f"[{', '.join(map(_text, values))}]"
    return f"[{', '.join(f'{value:.4g}' for value in values.tolist())}]"
