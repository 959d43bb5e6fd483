"""The ladder and the ablation: who is compared to whom, and numbers made apart from them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from compact_bench.analysis.results import Results, difference, read
from compact_bench.records.suite_record import SuiteRecord
from compact_bench.report.tables import changes
from tests import synthetic
from tests.from_files import crossed_test, csv_frame, per_item
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
    made = Made(scored=True, items=60, labels=LABELS, suite=SUITE)
    return synthetic.make(tmp_path_factory.mktemp("results"), made)


@pytest.fixture(scope="module")
def results(root: Path) -> Results:
    return read(root)


@pytest.mark.parametrize(("metric", "column"), [("accuracy", "right"),
                                                ("marginal_nll", "marginal_nll")])  # fmt: skip
def test_neighbours_and_the_first_rung_are_compared(
    root: Path, results: Results, metric: str, column: str
) -> None:
    table = changes.ladder(results)
    assert table is not None
    frame = csv_frame(table)
    frame = frame[frame["metric"] == metric].set_index(["label", "against"])
    values = {
        label: per_item(root, label, "in_domain", column) for label in LABELS if label != "base"
    }
    for before, label in pairwise(RUNGS):
        for against, other in (("rung before", before), ("first rung", "average")):
            line = frame.loc[(label, against)]
            expected = crossed_test({one: values[one] for one in (*RUNGS, "oracle")}, label, other)
            assert line["other"] == other
            assert (line["mean"], line["half_width"]) == pytest.approx(
                (expected.mean, expected.half_width)
            )
    assert ("oracle", "rung before") not in frame.index
    gain = (values["full"] - values["average"]).mean()
    most = (values["oracle"] - values["average"]).mean()
    assert frame.loc[("full", "share of gain"), "mean"] == pytest.approx(gain / most)


def test_the_ladder_is_in_the_suites_order_and_says_how_to_read_it(results: Results) -> None:
    table = changes.ladder(results)
    assert table is not None
    assert [row[0].text for row in table.rows] == [*RUNGS, "oracle"]
    assert [entry.text for entry in table.rows[0][2:5]] == ["–"] * 3
    for part in ("from the plainest (average) to the fullest (full)", "includes 0", "delta method",
                 "Share of oracle's gain"):  # fmt: skip
        assert part in table.caption.own, part


def test_a_share_of_nothing_is_not_given(tmp_path: Path) -> None:
    suite = {**SUITE, "regret_to": "random_weights"}  # as good as the first rung
    made = Made(scored=True, items=60, labels=LABELS, suite=suite)
    table = changes.ladder(read(synthetic.make(tmp_path, made)))
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
    measure = changes.ladder_measures(results)[0]
    found = difference(worse, first, measure)
    assert found is not None and found.mean < 0
    assert changes.gained(results.rows[1], first, worse, measure) is None


def test_without_a_ladder_there_is_no_table(tmp_path: Path) -> None:
    found = read(synthetic.make(tmp_path, Made(items=4, steps=1, labels=("average",))))
    assert changes.ladder(found) is None


def test_rungs_that_are_missing_or_failed_leave_the_rest(tmp_path: Path) -> None:
    states = {("frozen", seed): ("failed", "x") for seed in range(3)}
    suite = {**SUITE, "ladder": ["average", "gone", "frozen", "full"]}
    made = Made(scored=True, items=20, labels=("average", "frozen", "full"), suite=suite,
                states=states)  # fmt: skip
    table = changes.ladder(read(synthetic.make(tmp_path, made)))
    assert table is not None
    assert [row[0].text for row in table.rows] == ["average", "frozen", "full"]
    full = [entry.text for entry in table.rows[-1]]
    assert full[2] == "–" and full[3] != "–"  # to the failed rung before, and to the first


def test_changes_are_compared_to_the_ablated_row(root: Path, results: Results) -> None:
    table = changes.ablation(results)
    assert table is not None
    assert [row[0].text for row in table.rows] == ["full", "no consensus", "no floor"]
    assert [row[1].text for row in table.rows] == [
        "–", "scores: adaptability, difficulty", "floor: 0"
    ]  # fmt: skip
    frame = csv_frame(table).set_index(["label", "measure"])
    values = {label: per_item(root, label, "in_domain") for label in LABELS}
    expected = crossed_test(values, "no consensus", "full")
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
    assert changes.base_label(Results(plan, (), (), {}, {}, {}, ())) == label


def test_without_an_ablation_there_is_no_table(tmp_path: Path) -> None:
    made = Made(items=4, steps=1, labels=("average",))
    assert changes.ablation(read(synthetic.make(tmp_path, made))) is None
