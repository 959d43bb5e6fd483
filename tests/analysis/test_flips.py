"""Flips with luck taken out, against students whose knowledge is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compact_bench.analysis.forgetting import forgotten, learned

OUTCOMES = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40)


def answered(known: np.ndarray, chance: float, draw: np.random.Generator) -> np.ndarray:
    """Right where known, else where a guess is lucky."""
    return known | (draw.random(known.shape) < chance)


@pytest.mark.parametrize("chance", [0.0, 0.2, 0.25, 0.5])
@pytest.mark.parametrize(("lost", "new"), [(0.3, 0.0), (0.1, 0.15), (0.0, 0.0), (0.0, 0.3)])
def test_the_shares_are_those_of_what_is_known(chance: float, lost: float, new: float) -> None:
    """Knowledge and guesses drawn apart: the mean of many tests is the true share."""
    draw = np.random.default_rng(3)
    tests, items = 400, 250
    state = draw.choice(4, size=(tests, items), p=[lost, new, 0.4, 0.6 - lost - new])
    before = answered((state == 0) | (state == 2), chance, draw)
    after = answered((state == 1) | (state == 2), chance, draw)
    for found, truth in ((forgotten(before, after, chance), lost),
                         (learned(before, after, chance), new)):  # fmt: skip
        means = found.mean(axis=1)
        error = means.std(ddof=1) / np.sqrt(tests)
        assert means.mean() == pytest.approx(truth, abs=4 * error + 1e-12)
    # Observed flips alone overstate what is forgotten where guesses turn over.
    if chance == 0.5 and lost == 0.0:
        assert (before & ~after).mean() > 0.05


def test_without_learning_the_accuracy_before_says_the_same() -> None:
    """c (1 - accuracy before) are the lucky guesses that the next guess loses."""
    draw, chance = np.random.default_rng(4), 0.25
    known = draw.random(400_000) < 0.5
    still = known & (draw.random(known.shape) < 0.6)
    before, after = answered(known, chance, draw), answered(still, chance, draw)
    by_accuracy = ((before & ~after).mean() - chance * (1 - before.mean())) / (1 - chance)
    assert forgotten(before, after, chance).mean() == pytest.approx(by_accuracy, abs=0.005)


@given(OUTCOMES, st.sampled_from([0.0, 0.2, 0.25, 0.5]))
def test_what_is_lost_and_won_adds_up_to_the_change_of_accuracy(outcomes, chance: float) -> None:
    before, after = np.array(outcomes, dtype=float).T
    change = forgotten(before, after, chance).mean() - learned(before, after, chance).mean()
    assert change == pytest.approx((before.mean() - after.mean()) / (1 - chance), abs=1e-12)


@given(OUTCOMES)
def test_without_luck_it_is_what_is_seen(outcomes) -> None:
    before, after = np.array(outcomes, dtype=bool).T
    assert forgotten(before, after, 0.0).mean() == pytest.approx((before & ~after).mean())


@pytest.mark.parametrize("chance", [-0.1, 1.0])
def test_a_chance_that_is_none_is_refused(chance: float) -> None:
    with pytest.raises(ValueError, match="at least 0 and below 1"):
        forgotten(np.array([1]), np.array([0]), chance)
