"""Forgetting, matched gain and the curves, against numbers made straight from the files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference

from compact_bench.analysis import forgetting
from compact_bench.analysis.forgetting import (
    SCALE,
    Point,
    forgotten,
    mean_path,
    path,
    retention_at_gain,
)
from compact_bench.analysis.results import Results, read
from tests import synthetic
from tests.from_files import crossed_test, curve, per_item
from tests.synthetic import BEFORE, Made

OLD = [task for task in BEFORE if task != "in_domain"]
CHANCE = {"mini_facts": 0.25}
OUTCOMES = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Made(evidence=True, items=80, steps=2)
    return synthetic.make(tmp_path_factory.mktemp("results"), made)


@pytest.fixture(scope="module")
def results(root: Path) -> Results:
    return read(root)


def test_retention_goes_against_kl_as_scipy_says(results: Results) -> None:
    found = forgetting.rank_correlations(results)["KL from the base"]
    pairs = []
    for row in results.rows:
        kl = next((v for m, v in row.values.items() if m.metric == "kl_from_base"), {})
        pairs.append([(value, results.mean_retention(row)[seed]) for seed, value in kl.items()])
    cells = np.array([pair for by_row in pairs for pair in by_row])
    means = np.array([np.mean(by_row, axis=0) for by_row in pairs if by_row])
    assert found == pytest.approx(
        (reference.spearmanr(cells).statistic, 30, reference.spearmanr(means).statistic, 10)
    )


def test_a_path_is_read_where_it_first_reaches_the_gain() -> None:
    straight = [Point(at, 0.5 * at, 1 - 0.2 * at) for at in (0.0, 0.3, 0.8, 1.0)]
    for gain in (0.0, 0.1, 0.27, 0.5):  # on a line the answer is the line's
        assert retention_at_gain(straight, gain) == pytest.approx(1 - 0.4 * gain)
    assert retention_at_gain(straight, 0.51) is None
    back = [Point(0, 0.0, 1.0), Point(0.3, 0.4, 0.9), Point(0.7, 0.2, 0.5), Point(1, 0.6, 0.2)]
    assert retention_at_gain(back, 0.3) == pytest.approx(
        0.925
    )  # not 0.7 on the way back, nor 0.425
    assert retention_at_gain(back, 0.5) == pytest.approx(0.275)
    down = [Point(0, 0.0, 1.0), Point(0.5, -0.1, 0.9), Point(1, 0.1, 0.7)]
    assert retention_at_gain(down, 0.05) == pytest.approx(0.75)
    assert retention_at_gain(down, -0.05) == pytest.approx(0.95)
    flat = [Point(0, 0.0, 1.0), Point(1, 0.0, 0.4)]
    assert retention_at_gain(flat, 0.0) == 1.0
    assert retention_at_gain(flat, 0.1) is None


def test_a_mean_path_has_the_places_that_all_seeds_have() -> None:
    one = (Point(0, 0.0, 1.0), Point(0.3, 0.1, 0.9), Point(1, 0.4, 0.6))
    two = (Point(0, 0.0, 1.0), Point(1, 0.2, 0.8))
    assert mean_path({0: one, 1: two}) == (Point(0, 0.0, 1.0), Point(1, pytest.approx(0.3), 0.7))
    assert mean_path({}) == ()


def test_paths_join_the_untrained_and_the_trained_student(root: Path, results: Results) -> None:
    row = results.named("compact")
    assert row is not None
    points = path(results, row, SCALE)[2]
    assert [one.at for one in points] == [0.0, 0.33, 0.67, 1.0]
    assert (points[0].gain, points[0].retention) == (0.0, 1.0)
    mine, base = curve(root, "compact", 2), curve(root, "base", None)
    for one, key in zip(points[1:], [("scale", 0.33), ("scale", 0.67), ("checkpoint", 1.0)],
                        strict=True):  # fmt: skip
        gain = mine[*key, "in_domain"] - base["checkpoint", 0.0, "in_domain"]
        shares = [
            (mine[*key, task] - CHANCE.get(task, 0.0))
            / (base["checkpoint", 0.0, task] - CHANCE.get(task, 0.0))
            for task in OLD
        ]
        assert (one.gain, one.retention) == pytest.approx((gain, np.mean(shares)))


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
                         (forgotten(after, before, chance), new)):  # fmt: skip
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
    change = forgotten(before, after, chance).mean() - forgotten(after, before, chance).mean()
    assert change == pytest.approx((before.mean() - after.mean()) / (1 - chance), abs=1e-12)


@given(OUTCOMES)
def test_without_luck_it_is_what_is_seen(outcomes) -> None:
    before, after = np.array(outcomes, dtype=bool).T
    assert forgotten(before, after, 0.0).mean() == pytest.approx((before & ~after).mean())


@pytest.mark.parametrize("chance", [-0.1, 1.0])
def test_a_chance_that_is_none_is_refused(chance: float) -> None:
    with pytest.raises(ValueError, match="at least 0 and below 1"):
        forgotten(np.array([1]), np.array([0]), chance)


def test_the_difference_in_old_skill_is_that_of_the_means(root: Path, results: Results) -> None:
    rows = {row.label: row for row in results.rows}
    found = forgetting.difference_between(
        results, rows["compact"], rows["average"], forgetting.RETENTION
    )
    assert found is not None and found.test == "crossed"
    means = [np.mean(list(results.mean_retention(rows[label]).values()))
             for label in ("compact", "average")]  # fmt: skip
    assert found.mean == pytest.approx(means[0] - means[1])
    values = {}
    for label in set(rows) - {"base"}:
        parts = []
        for task in OLD:
            before = per_item(root, "base", task).mean() - CHANCE.get(task, 0.0)
            parts.append(per_item(root, label, task) / before)
        values[label] = np.concatenate(parts, axis=1)
    expected = crossed_test(values, "compact", "average")
    assert (found.half_width, found.p) == pytest.approx((expected.half_width, expected.p))
