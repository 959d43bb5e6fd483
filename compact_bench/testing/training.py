"""Checks of whole training runs: they repeat themselves, and go on where they were interrupted."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import Tensor

from compact_bench.testing.workbench import SEED, Interrupted, Workbench

NOTHING = "it trains nothing (seeded = False)"


def repetition(bench: Workbench) -> str:
    """the same seed gives the same student and the same records, bit for bit"""
    first = bench.trained
    if not first.steps and first.records.empty:
        return "it trains nothing and records nothing"
    # A method that says that it draws nothing must not depend on the seed either.
    seed = SEED if bench.method.seeded else SEED + 1
    second = bench.train(seed=seed)
    which = "the same seed" if bench.method.seeded else "another seed (seeded = False)"
    _same(first.state, second.state, f"with {which}")
    assert first.records.equals(second.records), (
        f"with {which}: expected the same step records, got others: "
        f"{_differing(first.records, second.records)}"
    )
    return ""


def resume(bench: Workbench) -> str:
    """a run that was interrupted goes on from its checkpoint to the same student, bit for bit"""
    whole = bench.trained
    if not whole.steps:
        return NOTHING
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
    return ""


def _same(expected: dict[str, Tensor], found: dict[str, Tensor], when: str) -> None:
    names = [name for name, value in expected.items() if not torch.equal(value, found[name])]
    if names:
        gap = max(float((expected[name] - found[name]).abs().max()) for name in names)
        raise AssertionError(
            f"{when}: expected the same trained parameters, got {len(names)} of {len(expected)} "
            f"tensors that differ, by {gap:.1e} at most"
        )


def _differing(expected, found) -> str:
    """The columns whose values differ."""
    columns = [c for c in expected if c not in found or not expected[c].equals(found[c])]
    return ", ".join(map(str, columns)) or f"{len(expected)} and {len(found)} rows"
