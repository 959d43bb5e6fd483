"""Checks of training: of single steps, while the student stands still, and of whole runs.

B questions, R rationales a question.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from compact_bench.student.batch import ROW_FIELDS, Batch
from compact_bench.testing.workbench import (
    NOTHING,
    SEED,
    Interrupted,
    NotApplicable,
    ObservedStep,
    Workbench,
    reference_run,
    whole_run,
)

LOSS_TOLERANCE = 1e-4  # of a loss of some nats in float32; sums run in another order
WEIGHT_TOLERANCE = 1e-3
GRADIENT_TOLERANCE = 1e-3  # of its length

DRAWS = "it draws from the batch's generator, so that another shape or order changes what is drawn"


def gradient(bench: Workbench) -> None:
    """each step that reads something leaves a gradient that is finite and not 0"""
    # One that is NaN or infinite never gets here: the trainer raises Diverged.
    steps = bench.reference
    nothing = all(observed.nothing for observed in steps)
    for number, observed in enumerate(steps, 1):
        assert bool(observed.gradient.any()) or (observed.nothing and not nothing), (
            f"step {number}: expected a gradient in the student's parameters, got 0 everywhere "
            "(backward calls step.loss.backward(), or student.add_gradient)"
        )


def weights(bench: Workbench) -> None:
    """weights are (B,R), detached, and sum to 1 over the question's rationales, 0 where absent"""
    for number, present, weights in _required_weights(bench.reference):
        assert weights.shape == present.shape, (
            f"step {number}: expected weights of shape {tuple(present.shape)}, "
            f"got {tuple(weights.shape)}"
        )
        assert not weights.requires_grad, (
            f"step {number}: expected detached weights, got some with a gradient"
        )
        total = (weights * present).sum(-1)
        assert torch.allclose(total, present.any(-1).to(total), atol=1e-4), (
            f"step {number}: expected weights that sum to 1 over what is present, "
            f"got the sums {_text(total)}"
        )
        _check_absent(number, weights, present)


def one_rationale(bench: Workbench) -> None:
    """a question's only rationale gets the whole weight"""
    for number, present, weights in _required_weights(bench.observe(_only_one)):
        expected = present.to(weights)
        assert torch.allclose(weights, expected, atol=1e-5), (
            f"step {number}, one rationale a question: expected weights {_text(expected)}, "
            f"got {_text(weights)}"
        )


def missing_teachers(bench: Workbench) -> None:
    """questions may lack different teachers: what is absent has no weight and changes nothing"""
    others = bench.observe(_with_absent)
    for number, present, weights in _weights(others):
        _check_absent(number, weights, present)
    if not _draws(bench.reference):
        _compare(bench.reference, others, "with one more absent rationale", slice(None, -1))


def permutation(bench: Workbench) -> None:
    """another order of a question's rationales permutes the weights, and changes nothing else"""
    if _draws(bench.reference):
        raise NotApplicable(DRAWS)
    others = bench.observe(lambda batch: _in_order(batch, _rolled(batch)))
    # Slot r holds what slot r - 1 held, so that rolling back undoes it.
    back = [_rolled(step.batch, -1) for step in others]
    _compare(bench.reference, others, "with the rationales in another order", back)


def layouts(bench: Workbench) -> None:
    """the padded and the shared layout of a batch give the same numbers"""
    if bench.padded:
        raise NotApplicable("it knows one layout only (layout = 'padded')")
    _compare(bench.reference, bench.observe(layout="padded"), "in the padded layout", slice(None))


def cost(bench: Workbench) -> None:
    """all that the student's model reads is counted: it is asked through the student alone"""
    tokens = reference_run(bench)[2]
    assert tokens <= 0, (
        f"cost: expected all that the model reads to be counted, got {tokens} tokens that it read "
        "past it (ask student.forward or student.sample, not student.model or student.causal)"
    )


def random_state(bench: Workbench) -> None:
    """selecting and training leave the global random states of torch, numpy and Python alone"""
    moved = reference_run(bench)[1]
    assert not moved, (
        f"global random state: expected it to be left alone, got draws from {', '.join(moved)} "
        "(draw with batch.generator, or with a generator of the method's own)"
    )


def repetition(bench: Workbench) -> None:
    """the same seed gives the same student and the same records, bit for bit"""
    first = whole_run(bench)
    if not first.steps and first.records.empty:
        raise NotApplicable("it trains nothing and records nothing")
    # A method that says that it draws nothing must not depend on the seed either.
    seed = SEED if bench.method.seeded else SEED + 1
    second = bench.train(seed=seed)
    which = "the same seed" if bench.method.seeded else "another seed (seeded = False)"
    _same(first.state, second.state, f"with {which}")
    old, new = first.records, second.records
    columns = [str(c) for c in old if c not in new or not old[c].equals(new[c])]
    assert old.equals(new), (
        f"with {which}: expected the same step records, got others: "
        f"{', '.join(columns) or f'{len(old)} and {len(new)} rows'}"
    )


def resume(bench: Workbench) -> None:
    """a run that was interrupted goes on from its checkpoint to the same student, bit for bit"""
    whole = whole_run(bench)
    if not whole.steps:
        raise NotApplicable(NOTHING)
    with tempfile.TemporaryDirectory() as folder:
        # In the second of two epochs: one checkpoint was made, and is behind.
        stop = whole.steps // 2 + 1
        try:
            bench.train(stop_after=stop, root=Path(folder))
        except Interrupted:
            rest = bench.train(root=Path(folder))
        else:
            raise AssertionError(f"fit: expected an interruption after step {stop} to end it")
    assert rest.steps < whole.steps, (
        f"after an interruption in step {stop}: expected fewer than {whole.steps} steps more, "
        f"got {rest.steps}: no checkpoint was used"
    )
    _same(whole.state, rest.state, f"interrupted in step {stop} of {whole.steps} and gone on")


def _in_order(batch: Batch, order: Sequence[int]) -> Batch:
    """The batch with the given slots, (R') of them; an absent slot holds its question's first
    rationale, which no method may look at."""

    def columns(rows: list[list]) -> list[list]:
        return [[row[r] if r < len(row) else row[0] for r in order] for row in rows]

    rows: dict[str, Any] = {name: columns(getattr(batch, name)) for name in ROW_FIELDS}
    return replace(
        batch,
        teacher=batch.teacher[:, list(order)],
        sample=batch.sample[:, list(order)],
        **rows,
    )


def _rolled(batch: Batch, by: int = 1) -> list[int]:
    size = batch.teacher.shape[1]
    return [(r - by) % size for r in range(size)]


def _with_absent(batch: Batch) -> Batch:
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


def _weights(steps: Sequence[ObservedStep]) -> list[tuple[int, Tensor, Tensor]]:
    """Number from 1, what is present and weights, (B,R) each, of the steps that have weights."""
    return [
        (number, observed.read, observed.step.weights)
        for number, observed in enumerate(steps, 1)
        if observed.step.weights is not None
    ]


def _required_weights(steps: Sequence[ObservedStep]) -> list[tuple[int, Tensor, Tensor]]:
    """`_weights` of a method that has some. Raises NotApplicable."""
    if weights := _weights(steps):
        return weights
    raise NotApplicable("its steps have no weights (Step.weights is None)" if steps else NOTHING)


def _draws(steps: Sequence[ObservedStep]) -> bool:
    return any(observed.drew for observed in steps)


def _check_absent(number: int, weights: Tensor, present: Tensor) -> None:
    absent = weights[~present]
    assert not absent.any(), (
        f"step {number}: expected weight 0 for absent rationales, got {_text(absent)}"
    )


def _compare(
    expected: Sequence[ObservedStep],
    observed: Sequence[ObservedStep],
    when: str,
    slots: slice | Sequence[list[int]],
) -> None:
    """Loss, weights and gradient of each step; slots: which observed weights to compare."""
    assert len(observed) == len(expected), (
        f"{when}: expected {len(expected)} steps, got {len(observed)}"
    )
    for number, (step, other) in enumerate(zip(expected, observed, strict=True), 1):
        where = f"step {number}, {when}"
        losses = float(step.step.loss), float(other.step.loss)
        assert abs(losses[0] - losses[1]) <= LOSS_TOLERANCE * (1 + abs(losses[0])), (
            f"{where}: expected the loss {losses[0]:.6f}, got {losses[1]:.6f}"
        )
        if step.step.weights is not None and other.step.weights is not None:
            chosen = slots if isinstance(slots, slice) else slots[number - 1]
            weights = other.step.weights[:, chosen]
            assert torch.allclose(weights, step.step.weights, atol=WEIGHT_TOLERANCE), (
                f"{where}: expected the weights {_text(step.step.weights)}, got {_text(weights)}"
            )
        gap = float((other.gradient - step.gradient).norm() / step.gradient.norm().clamp_min(1e-30))
        assert gap <= GRADIENT_TOLERANCE, (
            f"{where}: expected the same gradient, got one that is off by {gap:.1e} of its length"
        )


def _text(values: Tensor) -> str:
    """Numbers for a reader."""
    if values.dim() > 1:
        return f"[{', '.join(map(_text, values))}]"
    return f"[{', '.join(f'{value:.4g}' for value in values.tolist())}]"


def _same(expected: dict[str, Tensor], state: dict[str, Tensor], when: str) -> None:
    names = [name for name, value in expected.items() if not torch.equal(value, state[name])]
    if names:
        gap = max(float((expected[name] - state[name]).abs().max()) for name in names)
        raise AssertionError(
            f"{when}: expected the same trained parameters, got {len(names)} of {len(expected)} "
            f"tensors that differ, by {gap:.1e} at most"
        )
