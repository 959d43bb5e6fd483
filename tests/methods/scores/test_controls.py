"""Shuffling keeps the values and loses their order."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from compact_bench.methods.scores import controls


@given(st.integers(0, 5000), st.integers(1, 6))
def test_shuffling_keeps_each_question_s_values_and_what_is_absent(seed, size):
    draw = torch.Generator().manual_seed(seed)
    values = torch.rand(3, size, generator=draw)
    present = torch.rand(3, size, generator=draw) < 0.7
    moved = controls.shuffled(values, present, torch.Generator().manual_seed(seed + 1))
    assert torch.equal(moved[~present], values[~present])
    for b in range(3):
        kept = present[b]
        assert torch.equal(moved[b, kept].sort().values, values[b, kept].sort().values)


def test_every_order_is_as_likely():
    values, present = torch.tensor([[1.0, 2.0, 3.0]]), torch.ones(1, 3, dtype=torch.bool)
    draw = torch.Generator().manual_seed(0)
    seen: dict[tuple[float, ...], int] = {}
    for _ in range(3000):
        order = tuple(controls.shuffled(values, present, draw)[0].tolist())
        seen[order] = seen.get(order, 0) + 1
    assert len(seen) == 6
    assert all(abs(count - 500) < 5 * 20.4 for count in seen.values())  # five standard errors


def test_missing_values_move_with_the_others():
    values = torch.tensor([[1.0, float("nan"), 3.0]])
    moved = controls.shuffled(values, torch.ones(1, 3) > 0, torch.Generator().manual_seed(3))
    assert int(moved.isnan().sum()) == 1
