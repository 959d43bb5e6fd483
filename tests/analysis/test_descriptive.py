"""The descriptive statistics against scipy, statsmodels and closed forms; twins against a count."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats as reference
from statsmodels.stats.contingency_tables import mcnemar

from compact_bench.analysis import descriptive
from compact_bench.analysis.results import Results, read
from compact_bench.records.cells import read_cells
from compact_bench.report.tables import main
from tests import synthetic
from tests.synthetic import Made


def paired(seed: int, seeds: int = 3, items: int = 80) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return draw.integers(0, 2, (seeds, items)) - draw.integers(0, 2, (seeds, items)).astype(float)


@pytest.mark.parametrize("shape", [(1, 10), (3, 80), (5, 200)])
def test_mcnemar_is_that_of_statsmodels(shape: tuple[int, int]) -> None:
    draw = np.random.default_rng(sum(shape))
    first, second = draw.random(shape) < 0.4, draw.random(shape) < 0.3
    table = [
        [(first & second).sum(), (first & ~second).sum()],
        [(~first & second).sum(), (~first & ~second).sum()],
    ]
    found = descriptive.mcnemar((first > second).sum(), (first < second).sum())
    assert found == pytest.approx(mcnemar(table, exact=True).pvalue)


def test_mcnemar_of_equal_answers_is_one() -> None:
    assert descriptive.mcnemar(0, 0) == 1.0
    lost, gained = np.array([0, 3, 5]), np.array([0, 3, 0])
    expected = [1.0, 1.0, reference.binomtest(0, 5).pvalue]
    assert descriptive.mcnemar(gained, lost) == pytest.approx(expected)


def test_the_bootstrap_over_items_is_that_of_scipy() -> None:
    values = paired(0)
    found, _ = descriptive.bootstrap(values)
    by_item = values.mean(axis=0)
    other = reference.bootstrap(
        (by_item,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    error = by_item.std() / np.sqrt(len(by_item))
    assert found == pytest.approx(tuple(other), abs=0.15 * error)


def test_the_bootstrap_s_spread_is_the_closed_form() -> None:
    """Over items var(d_i)/n; over both Owen's three terms, written out for the complete table."""
    values = paired(1, 6, 90) + np.random.default_rng(2).normal(0, 0.5, (6, 1))
    seeds, items = values.shape
    by_item = descriptive.resampled_items(values)
    drawn = by_item.mean(axis=0)
    assert drawn.mean() == pytest.approx(values.mean(), abs=4 * drawn.std() / np.sqrt(len(drawn)))
    assert drawn.std() == pytest.approx(values.mean(axis=0).std() / np.sqrt(items), rel=0.08)
    both = descriptive.resampled_seeds(by_item)
    centred = values - values.mean()
    by_seed = (centred.mean(axis=1) ** 2).mean()
    by_item = (centred.mean(axis=0) ** 2).mean()
    every = (centred**2).mean()
    expected = by_seed * (1 - 1 / items) / seeds + by_item * (1 - 1 / seeds) / items
    expected += every / (seeds * items)
    assert both.var() == pytest.approx(expected, rel=0.15)


def test_the_intervals_are_percentiles_of_the_draws() -> None:
    values = paired(3)
    by_item = descriptive.resampled_items(values)
    drawn = by_item.mean(axis=0), descriptive.resampled_seeds(by_item)
    for (low, high), means in zip(descriptive.bootstrap(values, 0.9), drawn, strict=True):
        assert (means < low).mean() == pytest.approx(0.05, abs=0.02)
        assert (means > high).mean() == pytest.approx(0.05, abs=0.02)


@pytest.mark.parametrize("shape", [(0, 4), (1, 1)])
def test_too_little_to_resample_gives_no_interval(shape: tuple[int, int]) -> None:
    assert all(np.isnan(low) for low, _ in descriptive.bootstrap(np.zeros(shape)))
    over_items, both = descriptive.bootstrap(np.zeros((1, 9)))
    assert over_items[1] == 0 and np.isnan(both[1])


def test_the_interquartile_mean_drops_a_quarter_at_either_end() -> None:
    scores = [[100.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, -100.0]]
    assert descriptive.interquartile_mean(scores) == np.mean([2.0, 3.0, 4.0, 5.0])
    assert descriptive.interquartile_mean([1.0, float("nan"), 3.0]) == 2.0
    assert np.isnan(descriptive.interquartile_mean([]))


def test_the_probability_of_improvement_is_mann_whitneys() -> None:
    draw = np.random.default_rng(5)
    first = [draw.integers(0, 6, 7), draw.integers(2, 9, 5)]  # integers: there are ties
    second = [draw.integers(0, 6, 4), draw.integers(0, 7, 6)]
    expected = np.mean(
        [
            reference.mannwhitneyu(x, y).statistic / (len(x) * len(y))
            for x, y in zip(first, second, strict=True)
        ]
    )
    found = descriptive.probability_of_improvement(first, second)
    assert found == pytest.approx(expected)
    assert descriptive.probability_of_improvement(second, first) == pytest.approx(1 - found)
    assert descriptive.probability_of_improvement(first, first) == pytest.approx(0.5)
    assert np.isnan(descriptive.probability_of_improvement([[]], [[1.0]]))


LABELS = ("base", "average", "frozen", "full")


def results_with(folder: Path, share: float, labels=("average", "frozen")) -> Results:
    """Results in which a share of the second row's outputs are those of the first."""
    root = synthetic.make(folder, Made(items=40, seeds=(0, 1), labels=LABELS, steps=1))
    cells = {(c.spec["label"], c.spec["seed"]): c for c in read_cells(root)}
    for seed in (0, 1):
        source = cells.get((labels[0], seed)) or cells[labels[0], None]
        path = cells[labels[1], seed].folder / "samples.jsonl"
        own = [json.loads(line) for line in path.read_text().splitlines()]
        copied = round(share * len(own))
        for place, (sample, other) in enumerate(zip(own, source.samples(), strict=True)):
            assert sample["question_id"] == other["question_id"]
            if place < copied:
                sample["output"] = other["output"]
        path.write_text("".join(json.dumps(sample) + "\n" for sample in own))
    return read(root)


def test_rows_that_write_their_own_have_no_twin(tmp_path: Path) -> None:
    results = results_with(tmp_path, 0.0)
    assert descriptive.twins(results) == [] and main.twins(results) is None


@pytest.mark.parametrize(("share", "named"), [(1.0, True), (0.975, True), (0.95, False)])
def test_more_than_95_percent_equal_outputs_make_twins(
    tmp_path: Path, share: float, named: bool
) -> None:
    found = descriptive.twins(results_with(tmp_path, share))
    pairs = [(pair.first.label, pair.second.label) for pair in found]
    assert pairs == ([("average", "frozen")] if named else [])
    if named:
        assert found[0].share == pytest.approx(share)
        assert found[0].outputs == 2 * 4 * 40  # seeds, tasks, items


def test_a_row_without_seeds_stands_for_each(tmp_path: Path) -> None:
    """A method that trains nothing that matters writes what the student wrote before."""
    results = results_with(tmp_path, 1.0, ("base", "full"))
    assert [(p.first.label, p.second.label, p.share) for p in descriptive.twins(results)] == [
        ("base", "full", 1.0)
    ]
    table = main.twins(results)
    assert table is not None
    assert [entry.text for entry in table.rows[0]] == ["base", "full", "100.0", "320"]
