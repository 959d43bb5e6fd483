"""AUROC within questions against brute force, scipy and what must hold for any values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats as reference

from compact_bench.analysis import detection

SHAPE = (6, 4)
VALUES = arrays.arrays(np.float64, SHAPE, elements=st.integers(-5, 5).map(float))
TRUTH = arrays.arrays(np.bool_, SHAPE)


def tally(values: np.ndarray, good: np.ndarray, bad: np.ndarray) -> detection.Tally:
    """Every row of `values` is a question of its own."""
    won, known = detection.comparisons(values), ~np.isnan(values)
    counted = detection.count(won, known, good, bad)
    return detection.tally(np.arange(len(values)), np.arange(len(values)), *counted)


def brute_force(values: np.ndarray, good: np.ndarray, bad: np.ndarray) -> float:
    found = [
        1.0 if x[i] > x[j] else 0.5 if x[i] == x[j] else 0.0
        for x, g, b in zip(values, good, bad, strict=True)
        for i in np.flatnonzero(g)
        for j in np.flatnonzero(b)
        if not np.isnan(x[i]) and not np.isnan(x[j])
    ]
    return float(np.mean(found)) if found else np.nan


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_mean_over_pairs(seed: int) -> None:
    draw = np.random.default_rng(seed)
    values = draw.integers(0, 4, (30, 5)).astype(float)
    values[draw.random(values.shape) < 0.2] = np.nan
    good = draw.random(values.shape) < 0.5
    bad = ~good & (draw.random(values.shape) < 0.7)  # the rest is neither
    found = detection.auroc(tally(values, good, bad))
    assert found.value == pytest.approx(brute_force(values, good, bad))
    known = ~np.isnan(values)
    assert found.pairs == ((good & known).sum(1) * (bad & known).sum(1)).sum()
    assert found.low < found.value < found.high


def test_of_one_question_it_is_mann_whitney() -> None:
    draw = np.random.default_rng(3)
    values = draw.integers(0, 9, 40).astype(float)
    good = np.arange(40) < 17
    u = reference.mannwhitneyu(values[good], values[~good]).statistic
    found = detection.auroc(tally(values[None], good[None], ~good[None]))
    assert found.value == pytest.approx(u / (17 * 23))
    assert np.isnan(found.half_width)  # one question says nothing of others


def test_pairs_are_pooled_so_a_question_with_more_pairs_weighs_more() -> None:
    values = np.array([[4.0, 3.0, 2.0, 1.0], [1.0, 2.0, np.nan, np.nan]])
    good = np.array([[True, True, False, False], [True, False, False, False]])
    bad = np.array([[False, False, True, True], [False, True, False, False]])
    # 4 of 4 pairs and 0 of 1: pooled 4/5; the mean of the questions' own would be 1/2.
    assert detection.auroc(tally(values, good, bad)).value == pytest.approx(0.8)


@given(VALUES, TRUTH)
def test_only_the_order_counts(values: np.ndarray, good: np.ndarray) -> None:
    found = tally(values, good, ~good)
    again = tally(np.exp(values / 3) + 7, good, ~good)
    np.testing.assert_array_equal(found.wins, again.wins)
    np.testing.assert_array_equal(found.pairs, again.pairs)


@given(VALUES, TRUTH)
def test_the_other_sign_gives_one_minus_it(values: np.ndarray, good: np.ndarray) -> None:
    found, turned = tally(values, good, ~good), tally(-values, good, ~good)
    np.testing.assert_allclose(found.wins + turned.wins, found.pairs)


@given(TRUTH, st.floats(-3, 3))
def test_a_constant_tells_nothing(good: np.ndarray, value: float) -> None:
    found = tally(np.full(SHAPE, value), good, ~good)
    np.testing.assert_allclose(found.wins, found.pairs / 2)


def test_without_pairs_there_is_no_value() -> None:
    good = np.ones((3, 2), bool)
    found = detection.auroc(tally(np.zeros((3, 2)), good, ~good))
    assert np.isnan(found.value) and found.pairs == 0


def many(seed: int, questions: int = 80) -> detection.Tally:
    draw = np.random.default_rng(seed)
    good = draw.random((questions, 4)) < 0.6
    return tally(good + draw.normal(0, 1.5, good.shape), good, ~good)


def test_the_interval_is_the_percentile_bootstrap_over_questions() -> None:
    found, draw, values = many(1), np.random.default_rng(9), []
    for _ in range(4000):
        chosen = draw.integers(0, 80, 80)
        values.append(found.wins[chosen].sum() / found.pairs[chosen].sum())
    made = detection.auroc(found)
    assert made.low == pytest.approx(np.quantile(values, 0.025), abs=0.012)
    assert made.high == pytest.approx(np.quantile(values, 0.975), abs=0.012)
    assert made == detection.auroc(many(1))


def test_passes_and_seeds_of_a_question_are_drawn_together() -> None:
    once = many(2)
    twice = detection.tally(
        once.questions, np.tile(np.arange(80), 2), np.tile(once.wins, 2), np.tile(once.pairs, 2)
    )
    one, both = detection.auroc(once), detection.auroc(twice)
    assert both.pairs == 2 * one.pairs
    # More copies of the same questions are no more evidence.
    assert (both.value, both.low, both.high) == pytest.approx((one.value, one.low, one.high))


def test_differences_pair_questions() -> None:
    first, second = many(4), many(5)
    same = detection.auroc_difference(first, first)
    assert (same.value, same.half_width) == (0.0, 0.0)
    found = detection.auroc_difference(first, second)
    expected = detection.auroc(first).value - detection.auroc(second).value
    assert found.value == pytest.approx(expected)
    part = detection.Tally(second.questions[::2], second.wins[::2], second.pairs[::2])
    found = detection.auroc_difference(first, part)
    mine = first.wins[::2].sum() / first.pairs[::2].sum()
    assert found.value == pytest.approx(mine - part.wins.sum() / part.pairs.sum())
    assert found.questions <= 40


def test_agreement_counts_the_others_with_the_same_answer() -> None:
    questions = ["a"] * 5 + ["b"] * 2
    answers = ["7", "7", "8", None, float("nan"), "7", ""]
    np.testing.assert_array_equal(detection.agreement(questions, answers), [1, 1, 0, 0, 0, 0, 0])


def test_the_effective_number_is_exp_of_the_entropy() -> None:
    weights = np.array([[0.25] * 4, [1, 0, 0, 0], [0.5, 0.5, np.nan, np.nan], [0.7, 0.1, 0.1, 0.1]])
    expected = [4, 1, 2, np.exp(reference.entropy([0.7, 0.1, 0.1, 0.1]))]
    np.testing.assert_allclose(detection.effective_number(weights), expected)
