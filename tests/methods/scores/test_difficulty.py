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
    low, high = np.quantile(seen, [0.25, 0.75], method="hazen")
    width = max((high - low) / 1.35, difficulty.SMALLEST_WIDTH)
    expected = stats.norm.pdf(loss, middle, width) / stats.norm.pdf(middle, middle, width)
    found = difficulty.readiness(
        torch.tensor([[loss]], dtype=torch.float64),
        torch.tensor([[True]]),
        torch.tensor(seen, dtype=torch.float64),
        torch.ones(len(seen)),
    )
    # float32 inside: a width near 0 makes the exponent sensitive.
    if high - low > 0.1:
        assert float(found) == pytest.approx(expected, abs=1e-3)
    assert 0 <= float(found) <= 1


def test_both_ends_are_worse_than_the_middle():
    seen = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    nll, present = torch.tensor([[0.0, 3.0, 9.0]]), torch.ones(1, 3) > 0
    bump = difficulty.readiness(nll, present, seen, torch.ones(5))[0]
    assert float(bump[1]) == 1.0
    assert float(bump[0]) < 1 and float(bump[2]) < float(bump[0])


def test_easier_is_minus_the_loss_and_absent_is_missing():
    present = torch.tensor([[True, False]])
    found = difficulty.easier(torch.tensor([[2.0, 0.0]]), present)
    assert found[0, 0] == -2 and found[0, 1].isnan()
    seen = torch.tensor([1.0, 2.0, 3.0])
    assert difficulty.readiness(torch.tensor([[2.0, 0.0]]), present, seen, torch.ones(3))[
        0, 1
    ].isnan()


def test_nothing_seen_says_nothing():
    found = difficulty.readiness(
        torch.tensor([[1.0, 5.0]]), torch.ones(1, 2) > 0, torch.empty(0), torch.empty(0)
    )
    assert found.tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_bad_losses_are_refused(bad):
    with pytest.raises(ValueError, match="difficulty: NaN or infinite"):
        difficulty.easier(torch.tensor([[bad]]), torch.tensor([[True]]))


@given(LOSSES, st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_equal_weights_give_numpy_s_quantiles(values, at):
    found = difficulty.quantiles(torch.tensor(values), torch.ones(len(values)), at)
    expected = np.quantile(np.float32(values), at, method="hazen")
    assert found.tolist() == pytest.approx(expected.tolist(), abs=1e-5)


@given(LOSSES, st.integers(2, 5), st.floats(0, 1))
def test_a_weight_is_a_number_of_copies(values, copies, at):
    """Up to the interpolation between neighbours, which copies make narrower."""
    repeated = torch.tensor(values).repeat_interleave(copies)
    weighted = difficulty.quantiles(torch.tensor(values), torch.full((len(values),), copies), [at])
    plain = difficulty.quantiles(repeated, torch.ones(len(repeated)), [at])
    ordered = np.sort(values)
    gap = np.diff(ordered).max(initial=0)
    assert float(weighted) == pytest.approx(float(plain), abs=gap + 1e-5)


def test_a_loss_counts_half_after_the_half_life():
    ages = torch.tensor([64, 32, 0])
    assert difficulty.decayed(ages, 32).tolist() == pytest.approx([0.25, 0.5, 1])
    assert difficulty.decayed(ages, None).tolist() == [1, 1, 1]


def test_old_losses_are_forgotten():
    """The student had losses of 4 and has losses of 1 now: 1 is no longer too easy."""
    seen = torch.cat(
        [torch.tensor([3.5, 4.0, 4.5]).repeat(130), torch.tensor([0.5, 1, 1.5]).repeat(40)]
    )
    nll, present = torch.tensor([[1.0, 4.0]]), torch.ones(1, 2) > 0
    ages = torch.arange(len(seen) - 1, -1, -1)
    lagging, decaying = (
        difficulty.readiness(nll, present, seen, difficulty.decayed(ages, half_life))[0]
        for half_life in (None, 32)
    )
    assert lagging[0] < lagging[1]
    assert decaying[0] > 0.9 and decaying[1] < 0.2


@pytest.mark.parametrize("share", [0.25, 0.5, 0.7])
def test_two_kinds_of_unlike_difficulty_don_t_help_the_harder(share):
    """Filler is the harder one; with the median it may be the usual one, or nothing is."""
    draw = torch.Generator().manual_seed(0)
    hard = torch.rand(512, generator=draw) < share
    seen = torch.where(hard, 2.4, 0.4) + 0.15 * torch.randn(512, generator=draw)
    nll, present = torch.tensor([[0.3, 0.4, 0.5, 2.4]]), torch.ones(1, 4) > 0
    counts = difficulty.decayed(torch.arange(511, -1, -1), 32)
    score = difficulty.manageable(nll, present, seen, counts)[0]
    assert float(score[:3].min()) > float(score[3])
    if share > 0.5:
        usual = difficulty.readiness(nll, present, seen, counts)[0]
        assert float(usual[:3].max()) < float(usual[3])


@given(LOSSES, st.floats(0.01, 10), st.floats(0, 3))
def test_nothing_is_too_easy_to_be_manageable(seen, loss, more):
    nll = torch.tensor([[loss, loss + more]])
    counts = torch.ones(len(seen))
    score = difficulty.manageable(nll, torch.ones(1, 2) > 0, torch.tensor(seen), counts)[0]
    assert 0 <= float(score[1]) <= float(score[0]) <= 1
    if loss <= min(seen):
        assert float(score[0]) == 1
