"""The bump against scipy's normal density, and the monotone form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from compact_bench.methods.scores import difficulty

LOSSES = st.lists(st.floats(0.01, 10), min_size=5, max_size=40)


@given(LOSSES, st.floats(0.01, 10))
def test_the_bump_is_a_normal_density_over_its_peak(seen, loss):
    middle = float(np.median(seen))
    width = max(stats.iqr(seen) / 1.35, difficulty.SMALLEST_WIDTH)
    expected = stats.norm.pdf(loss, middle, width) / stats.norm.pdf(middle, middle, width)
    found = difficulty.readiness(
        torch.tensor([[loss]], dtype=torch.float64),
        torch.tensor([[True]]),
        torch.tensor(seen, dtype=torch.float64),
    )
    # float32 inside: a width near 0 makes the exponent sensitive.
    if stats.iqr(seen) > 0.1:
        assert float(found) == pytest.approx(expected, abs=1e-3)
    assert 0 <= float(found) <= 1


def test_both_ends_are_worse_than_the_middle():
    seen = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    bump = difficulty.readiness(torch.tensor([[0.0, 3.0, 9.0]]), torch.ones(1, 3) > 0, seen)[0]
    assert float(bump[1]) == 1.0
    assert float(bump[0]) < 1 and float(bump[2]) < float(bump[0])


def test_easier_is_minus_the_loss_and_absent_is_missing():
    present = torch.tensor([[True, False]])
    found = difficulty.easier(torch.tensor([[2.0, 0.0]]), present)
    assert found[0, 0] == -2 and found[0, 1].isnan()
    seen = torch.tensor([1.0, 2.0, 3.0])
    assert difficulty.readiness(torch.tensor([[2.0, 0.0]]), present, seen)[0, 1].isnan()


def test_nothing_seen_says_nothing():
    found = difficulty.readiness(torch.tensor([[1.0, 5.0]]), torch.ones(1, 2) > 0, torch.empty(0))
    assert found.tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_bad_losses_are_refused(bad):
    with pytest.raises(ValueError, match="difficulty: NaN or infinite"):
        difficulty.easier(torch.tensor([[bad]]), torch.tensor([[True]]))
