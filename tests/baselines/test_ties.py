"""TIES against a loop over single weights, and its ends."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compact_bench.methods.registry import load
from compact_bench_baselines.ties import ties_merge
from tests.trainers import trainer

METHODS = load().methods
NUMBERS = st.floats(-2, 2, allow_nan=False).map(lambda x: round(x, 2))


def by_loop(changes: list[list[float]], keep: float) -> list[float]:
    size = len(changes[0])
    count = max(1, int(keep * size))
    trimmed = []
    for row in changes:
        least = sorted(map(abs, row), reverse=True)[count - 1]
        trimmed.append([x if abs(x) >= least else 0.0 for x in row])
    totals = [sum(row[p] for row in trimmed) for p in range(size)]
    majority = np.sign(sum(np.sign(total) for total in totals))
    merged = []
    for p, total in enumerate(totals):
        sign = np.sign(total) or majority
        own = [row[p] for row in trimmed if row[p] and np.sign(row[p]) == sign]
        merged.append(sum(own) / len(own) if own else 0.0)
    return merged


@settings(max_examples=100, deadline=None)
@given(
    st.integers(2, 8).flatmap(
        lambda n: st.lists(st.lists(NUMBERS, min_size=n, max_size=n), min_size=1, max_size=4)
    ),
    st.sampled_from([0.2, 0.5, 1.0]),
)
def test_it_is_what_a_loop_over_weights_gives(changes, keep):
    found = ties_merge(torch.tensor(changes, dtype=torch.float64), keep)
    # Sums whose sign rounding decides can't be compared.
    if all(abs(sum(row[p] for row in changes)) > 1e-9 for p in range(len(changes[0]))):
        assert found.tolist() == pytest.approx(by_loop(changes, keep), abs=1e-12)


def test_by_hand():
    """The second branch's small -0.1 is trimmed; in the last weight + outweighs -."""
    changes = torch.tensor([[1.0, 0.5, 3.0, 0.0], [-0.1, 0.7, -1.0, 0.0]])
    assert ties_merge(changes, 0.5).tolist() == pytest.approx([1.0, 0.7, 3.0, 0.0])


@pytest.mark.parametrize("lora", [False, True])
def test_equal_branches_merge_to_what_they_are(lora):
    made = trainer(METHODS["ties"](METHODS["ties"].Config(keep=1.0)), lora=lora)
    start = made.student.state_dict()
    end = {name: value + 0.1 for name, value in start.items()}
    merged = made.distiller.merged(start, [end, end], made)
    assert all(torch.allclose(merged[name], end[name], atol=1e-6) for name in end)
    made.distiller.fit(made)
    assert made.position.run == 8


def test_keeping_nothing_is_refused():
    with pytest.raises(ValueError, match="keep"):
        METHODS["ties"].Config(keep=0)
