"""Each change beside the row that it changes: labels, settings and differences of the files."""

from __future__ import annotations

from pathlib import Path

import pytest

from compact_bench.analysis import statistics
from compact_bench.analysis.results import Results, read
from compact_bench.records.suite_record import SuiteRecord
from compact_bench.report.tables import ablation
from tests import synthetic
from tests.from_files import csv_frame, per_item
from tests.synthetic import Made

CHANGES = {"no consensus": {"scores": ["adaptability", "difficulty"]}, "no floor": {"floor": 0}}
SUITE = {"ablation": {"of": {"full": {"tau": 1}}, "changes": CHANGES}}
LABELS = ("base", "average", "full", *CHANGES)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Made(scored=True, items=150, labels=LABELS, suite=SUITE)
    return synthetic.make(tmp_path_factory.mktemp("results"), made)


@pytest.fixture(scope="module")
def results(root: Path) -> Results:
    return read(root)


def test_changes_are_compared_to_the_ablated_row(root: Path, results: Results) -> None:
    table = ablation.table(results)
    assert table is not None
    assert [row[0].text for row in table.rows] == ["full", "no consensus", "no floor"]
    assert [row[1].text for row in table.rows] == [
        "–", "scores: adaptability, difficulty", "floor: 0"
    ]  # fmt: skip
    frame = csv_frame(table).set_index(["label", "measure"])
    expected = statistics.crossed(
        per_item(root, "no consensus", "in_domain") - per_item(root, "full", "in_domain")
    )
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


def test_without_an_ablation_there_is_no_table(tmp_path: Path) -> None:
    made = Made(items=4, steps=1, labels=("average",))
    assert ablation.table(read(synthetic.make(tmp_path, made))) is None
