"""Forest plots and the heat map draw the numbers of the tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from compact_bench.analysis.results import Results, read
from compact_bench.analysis.statistics import Difference
from compact_bench.report.figures import differences
from compact_bench.report.tables import changes
from tests import synthetic
from tests.synthetic import Made

RUNGS = ["average", "random_weights", "frozen", "full"]
CHANGES = {"no consensus": {"scores": ["adaptability", "difficulty"]}, "no floor": {"floor": 0}}
SUITE = {
    "ladder": RUNGS,
    "regret_to": "oracle",
    "ablation": {"of": {"full": {"tau": 1}}, "changes": CHANGES},
}
LABELS = ("base", *RUNGS, "oracle", *CHANGES)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Made(scored=True, items=150, labels=LABELS, suite=SUITE)
    return synthetic.make(tmp_path_factory.mktemp("results"), made)


@pytest.fixture(scope="module")
def results(root: Path) -> Results:
    return read(root)


def drawn(monkeypatch: pytest.MonkeyPatch, maker, results: Results) -> Figure:
    """The figure before it is rendered."""
    kept: list[Figure] = []
    monkeypatch.setattr(differences, "Rendering", lambda f: kept.append(f) or {})
    assert maker(results) is not None
    return kept[0]


@pytest.mark.parametrize(
    ("better", "found", "expected"),
    [(1, Difference(0.2, 0.1), 2.0), (-1, Difference(0.2, 0.1), -2.0), (1, None, np.nan),
     (1, Difference(0.2), np.nan), (1, Difference(0.0, 0.0), 0.0), (0, Difference(3.0, 1.0), 0.0)],
)  # fmt: skip
def test_heat_is_in_half_widths_and_positive_where_better(
    better: int, found: Difference | None, expected: float
) -> None:
    column = changes.Column("k", "t", better, lambda r: "", lambda c: None, lambda f: "")
    np.testing.assert_equal(differences.heat(column, found), expected)
    assert differences.heat(column, Difference(-1.0, 0.0)) * better <= 0


def test_the_forest_plot_draws_the_tables_numbers(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = drawn(monkeypatch, differences.ladder, results)
    one = changes.ladders(results)[0]
    for axis, measure in zip(figure.axes, changes.ladder_measures(results), strict=True):
        scale = 100 if measure.shown.percent else 1
        expected = [
            scale * c.found.mean
            for c in changes.comparisons(one, measure)
            if c.found and c.against != changes.GAIN
        ]
        points = [container.lines[0].get_xdata()[0] for container in axis.containers]
        assert points == pytest.approx(expected)
        low, high = axis.get_xlim()
        assert low < min(0, *points) and high > max(0, *points)
        assert axis.get_ylim()[0] > axis.get_ylim()[1]
        # The better side is where the measure says.
        text = {1: "better →", -1: "← better"}[measure.shown.better]
        assert text in [t.get_text() for t in axis.texts]
    # The plainest rung on top.
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names == [*RUNGS[1:], "oracle"]


def test_the_heat_map_prints_numbers_and_marks_clear_ones(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    axis = drawn(monkeypatch, differences.ablation, results).axes[0]
    columns = changes.ablation_columns(results)
    texts = [text.get_text() for text in axis.texts]
    found = [column.difference(change) for change in changes.changes(results) for column in columns]
    assert len(texts) == len(found) == 2 * 6
    for text, one in zip(texts, found, strict=True):
        assert one is not None
        assert text.endswith("∗") == (abs(one.mean) > one.half_width)
    cells = axis.collections[0]
    low, high = cells.get_clim()
    assert low == -high
    assert np.ravel(cells.get_array())[0] == pytest.approx(found[0].mean / found[0].half_width)


def test_the_forest_has_every_row_but_the_reference_and_none_without_intervals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Made(seeds=(0, 1), items=20, steps=1)
    figure = drawn(monkeypatch, differences.differences, read(synthetic.make(tmp_path, made)))
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names == [label for label in synthetic.AFTER if label != "average"]
    one = Made(seeds=(0,), items=5, steps=1)
    assert differences.differences(read(synthetic.make(tmp_path / "one", one))) is None


def test_without_ladder_or_ablation_there_is_neither(tmp_path: Path) -> None:
    found = read(synthetic.make(tmp_path, Made(items=4, steps=1, labels=("average",))))
    assert differences.ladder(found) is None and differences.ablation(found) is None
