"""The ladder and the ablation: who is compared to whom, and numbers made apart from them."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy import stats as reference

from compact_bench.analysis import statistics
from compact_bench.analysis.results import Results, difference, read
from compact_bench.analysis.statistics import Difference
from compact_bench.records import cells
from compact_bench.records.suite_record import SuiteRecord
from compact_bench.report.figures import differences
from compact_bench.report.parts import formats
from compact_bench.report.tables import ablation, ladder
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


def items(root: Path, label: str, column: str = "right") -> np.ndarray:
    """(seeds, items) of the reasoning task, straight from the files."""
    rows = {}
    for cell in cells.read_cells(root):
        if cell.spec["label"] == label:
            lines = cell.samples()
            chosen = sorted((x for x in lines if x["task"] == "in_domain"),
                            key=lambda x: x["question_id"])  # fmt: skip
            rows[cell.spec["seed"]] = [float(x[column]) for x in chosen]
    return np.array([rows[seed] for seed in sorted(rows)])


@pytest.mark.parametrize(("metric", "column"), [("accuracy", "right"),
                                                ("marginal_nll", "marginal_nll")])  # fmt: skip
def test_neighbours_and_the_first_rung_are_compared(
    root: Path, results: Results, metric: str, column: str
) -> None:
    table = ladder.table(results)
    assert table is not None
    frame = pd.read_csv(io.StringIO(formats.csv(table)))
    frame = frame[frame["metric"] == metric].set_index(["label", "against"])
    values = {label: items(root, label, column) for label in LABELS if label != "base"}
    for before, label in pairwise(RUNGS):
        for against, other in (("rung before", before), ("first rung", "average")):
            line = frame.loc[(label, against)]
            expected = statistics.crossed(values[label] - values[other])
            assert line["other"] == other
            assert (line["mean"], line["half_width"]) == pytest.approx(
                (expected.mean, expected.half_width)
            )
    assert ("oracle", "rung before") not in frame.index
    gain = (values["full"] - values["average"]).mean()
    most = (values["oracle"] - values["average"]).mean()
    assert frame.loc[("full", "share of gain"), "mean"] == pytest.approx(gain / most)


def test_the_ladder_is_in_the_suites_order_and_says_how_to_read_it(results: Results) -> None:
    table = ladder.table(results)
    assert table is not None
    assert [row[0].text for row in table.rows] == [*RUNGS, "oracle"]
    assert [entry.text for entry in table.rows[0][2:5]] == ["–"] * 3
    for part in ("from the plainest (average) to the fullest (full)", "includes 0", "delta method",
                 "Share of oracle's gain"):  # fmt: skip
        assert part in table.caption.own, part


def test_the_ratio_is_the_delta_method_where_seeds_agree() -> None:
    draw = np.random.default_rng(0)
    bottom = draw.normal(1.0, 1.0, 400)
    top = 0.5 * bottom + draw.normal(0, 0.5, 400)
    found = statistics.ratio(np.tile(top, (3, 1)), np.tile(bottom, (3, 1)))
    assert found is not None
    ratio = top.mean() / bottom.mean()
    covariance = np.cov(top, bottom)
    variance = covariance[0, 0] - 2 * ratio * covariance[0, 1] + ratio**2 * covariance[1, 1]
    error = np.sqrt(variance / 400) / bottom.mean()
    assert found.mean == pytest.approx(ratio)
    assert found.half_width == pytest.approx(reference.t.ppf(0.975, 399) * error)


def test_the_ratios_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    draw, held = np.random.default_rng(1), 0
    for _ in range(300):
        shared = draw.normal(0, 1.0, 120) + draw.normal(0, 0.15, (4, 1))
        bottom = 1.0 + shared + draw.normal(0, 0.5, (4, 120))
        top = 0.6 + 0.5 * shared + draw.normal(0, 0.5, (4, 120))
        found = statistics.ratio(top, bottom)
        assert found is not None
        held += abs(found.mean - 0.6) <= found.half_width
    assert 0.91 <= held / 300 <= 1.0


def test_a_share_of_nothing_is_not_given(tmp_path: Path) -> None:
    noise = np.random.default_rng(2).normal(0, 1, (3, 50))
    assert statistics.ratio(noise + 1, noise - noise.mean()) is None
    assert statistics.ratio(noise[:1] + 1, noise[:1] + 9) is None  # one seed has no interval
    suite = {**SUITE, "regret_to": "random_weights"}  # as good as the first rung
    made = Made(scored=True, items=60, labels=LABELS, suite=suite)
    table = ladder.table(read(synthetic.make(tmp_path, made)))
    assert table is not None
    place = next(i for i, name in enumerate(table.columns) if "share of" in name)
    assert {row[place].text for row in table.rows} == {"–"}
    assert "there is no gain to share" in " ".join(table.caption.own.split())


def test_where_the_truth_is_worse_there_is_no_gain_to_share(tmp_path: Path) -> None:
    """In these records the last label is the best: as first rung, all others lose."""
    suite = {**SUITE, "ladder": [LABELS[-1], *LABELS[:-1]], "regret_to": LABELS[0]}
    made = Made(scored=True, items=60, labels=LABELS, suite=suite)
    results = read(synthetic.make(tmp_path, made))
    first, worse = (results.named(name, "") for name in (LABELS[-1], LABELS[0]))
    measure = ladder.measures(results)[0]
    found = difference(worse, first, measure)
    assert found is not None and found.mean < 0
    assert ladder.gained(results.rows[1], first, worse, measure) is None


def test_without_ladder_or_ablation_there_is_neither(tmp_path: Path) -> None:
    found = read(synthetic.make(tmp_path, Made(items=4, steps=1, labels=("average",))))
    for maker in (ladder.table, ablation.table, differences.ladder,
                  differences.ablation):  # fmt: skip
        assert maker(found) is None


def test_rungs_that_are_missing_or_failed_leave_the_rest(tmp_path: Path) -> None:
    states = {("frozen", seed): ("failed", "x") for seed in range(3)}
    suite = {**SUITE, "ladder": ["average", "gone", "frozen", "full"]}
    made = Made(scored=True, items=20, labels=("average", "frozen", "full"), suite=suite,
                states=states)  # fmt: skip
    table = ladder.table(read(synthetic.make(tmp_path, made)))
    assert table is not None
    assert [row[0].text for row in table.rows] == ["average", "frozen", "full"]
    full = [entry.text for entry in table.rows[-1]]
    assert full[2] == "–" and full[3] != "–"  # to the failed rung before, and to the first


def test_changes_are_compared_to_the_ablated_row(root: Path, results: Results) -> None:
    table = ablation.table(results)
    assert table is not None
    assert [row[0].text for row in table.rows] == ["full", "no consensus", "no floor"]
    assert [row[1].text for row in table.rows] == [
        "–", "scores: adaptability, difficulty", "floor: 0"
    ]  # fmt: skip
    frame = pd.read_csv(io.StringIO(formats.csv(table))).set_index(["label", "measure"])
    expected = statistics.crossed(items(root, "no consensus") - items(root, "full"))
    line = frame.loc[("no consensus", "in_domain.accuracy")]
    assert line["of"] == "full"
    assert (line["mean"], line["half_width"]) == pytest.approx((expected.mean, expected.half_width))
    # Weaker weights tell less; the change that leaves the weights alone tells the same.
    assert frame.loc[("no consensus", "weights.auroc"), "mean"] < -0.02
    assert frame.loc[("no floor", "weights.auroc"), "mean"] == 0.0


@pytest.mark.parametrize(
    ("of", "label"),
    [("full", "full"), ({"full": {"tau": 1}}, "full"), ({"full": None, "label": "mine"}, "mine")],
)
def test_the_ablated_row_is_found_by_its_label(results: Results, of: object, label: str) -> None:
    plan = SuiteRecord({"ablation": {"of": of, "changes": {}}}, ())
    assert ablation.base_label(Results(plan, (), (), {}, {}, {}, ())) == label


@pytest.mark.parametrize(
    ("better", "found", "expected"),
    [(1, Difference(0.2, 0.1), 2.0), (-1, Difference(0.2, 0.1), -2.0), (1, None, np.nan),
     (1, Difference(0.2), np.nan), (1, Difference(0.0, 0.0), 0.0), (0, Difference(3.0, 1.0), 0.0)],
)  # fmt: skip
def test_heat_is_in_half_widths_and_positive_where_better(
    better: int, found: Difference | None, expected: float
) -> None:
    column = ablation.Column("k", "t", better, lambda r: "", lambda c: None, lambda f: "")
    np.testing.assert_equal(differences.heat(column, found), expected)
    assert differences.heat(column, Difference(-1.0, 0.0)) * better <= 0


def drawn(monkeypatch: pytest.MonkeyPatch, maker, results: Results) -> Figure:
    """The figure before it is rendered."""
    kept: list[Figure] = []
    monkeypatch.setattr(differences, "render", lambda f: kept.append(f) or {})
    assert maker(results) is not None
    return kept[0]


def test_the_forest_plot_draws_the_tables_numbers(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = drawn(monkeypatch, differences.ladder, results)
    one = ladder.ladders(results)[0]
    for axis, measure in zip(figure.axes, ladder.measures(results), strict=True):
        scale = 100 if measure.shown.percent else 1
        expected = [
            scale * c.found.mean
            for c in ladder.comparisons(one, measure)
            if c.found and c.against != ladder.GAIN
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
    columns, changes = ablation.columns(results), ablation.changes(results)
    texts = [text.get_text() for text in axis.texts]
    found = [column.difference(change) for change in changes for column in columns]
    assert len(texts) == len(found) == 2 * 6
    for text, one in zip(texts, found, strict=True):
        assert one is not None
        assert text.endswith("∗") == (abs(one.mean) > one.half_width)
    cells = axis.collections[0]
    low, high = cells.get_clim()
    assert low == -high
    assert np.ravel(cells.get_array())[0] == pytest.approx(found[0].mean / found[0].half_width)
