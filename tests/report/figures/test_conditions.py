"""Rows under several conditions of the training data, and the curves over them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from compact_bench.analysis.results import Results, read
from compact_bench.records.cells import read_cells
from compact_bench.records.suite_record import read_suite_record, write_suite_record
from compact_bench.report import comparison
from compact_bench.report.figures import conditions as curves
from compact_bench.report.page import build
from compact_bench.report.parts import formats
from compact_bench.report.tables import main
from tests import synthetic
from tests.synthetic import Made

LABELS = ("base", "average", "full")
CONDITIONS = tuple(
    {"name": f"{fault} {x:g}", "series": fault, "x": x, "data": {"corrupt": {fault: x}}}
    for fault in ("wrong_step", "filler")
    for x in (0.5, 0.0)
)


def made(**more: Any) -> Made:
    first: dict[str, Any] = {"scored": True, "items": 25, "labels": LABELS}
    return Made(**first | {"conditions": CONDITIONS, "suite": {"axis": "share spoilt"}} | more)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.make(tmp_path_factory.mktemp("results"), made())


@pytest.fixture(scope="module")
def results(root: Path) -> Results:
    return read(root)


def values(root: Path, label: str, condition: str, metric: str = "accuracy") -> pd.Series:
    """Strict in-domain values by seed, straight from the files."""
    planned = read_suite_record(root).cells
    ids = {c["run_id"]: c["seed"] for c in planned
           if (c["label"], c.get("condition", "")) == (label, condition)}  # fmt: skip
    found = {}
    for run_id, seed in ids.items():
        frame = pd.read_parquet(root / "runs" / run_id / "eval.parquet")
        chosen = frame[(frame["task"] == "in_domain") & (frame["metric"] == metric)]
        found[seed] = chosen[chosen["filter"] != "flexible"]["value"].iloc[0]
    return pd.Series(found)


def test_a_row_for_each_condition_and_one_for_the_untrained_student(results: Results) -> None:
    names = [str(one["name"]) for one in CONDITIONS]
    expected = ["base", *(f"{label} · {name}" for label in LABELS[1:] for name in names)]
    assert [row.label for row in results.rows] == expected
    assert [row.name for row in results.rows] == ["base"] + ["average"] * 4 + ["full"] * 4


def test_differences_are_to_the_reference_of_the_same_condition(
    root: Path, results: Results
) -> None:
    numbers = main.main_numbers(results).set_index(["label", "condition"])
    for one in CONDITIONS:
        name = str(one["name"])
        expected = (values(root, "full", name) - values(root, "average", name)).mean()
        found = numbers.loc[("full", name), "in_domain.accuracy.difference"]
        assert found == pytest.approx(expected)
        assert np.isnan(numbers.loc[("average", name), "in_domain.accuracy.difference"])
    assert np.isnan(numbers.loc[("base", ""), "in_domain.accuracy.difference"])
    table = main.differences(results)
    assert "to average of the same condition" in table.caption.own
    assert set(table.numbers.columns) > {"label", "condition", "reference"}


def test_an_untrained_reference_stands_for_every_condition(root: Path) -> None:
    plan = read_suite_record(root)
    plan.suite["compare_to"] = "base"
    from compact_bench.analysis import results as collect

    found = collect.collect(read_cells(root), plan)
    numbers = main.main_numbers(found).set_index(["label", "condition"])
    before = values(root, "base", "").iloc[0]
    for one in CONDITIONS:
        expected = (values(root, "full", str(one["name"])) - before).mean()
        difference = numbers.loc[("full", one["name"]), "in_domain.accuracy.difference"]
        assert difference == pytest.approx(expected)


def test_the_best_is_bold_in_each_condition(results: Results) -> None:
    table = main.main(results)
    place = next(i for i, name in enumerate(table.columns) if "accuracy" in name)
    bold = {row[0].text.split(" · ")[1] for row in table.rows if row[place].best}
    assert bold == {str(one["name"]) for one in CONDITIONS}


def test_cells_may_be_shared_by_conditions(tmp_path: Path) -> None:
    """Two names for the same data: one run, two rows."""
    root = synthetic.make(tmp_path, made(seeds=(0,)))
    plan = read_suite_record(root)
    same = {c["condition"]: c["run_id"] for c in plan.cells if c["label"] == "full"}
    cells = [
        {**c, "run_id": same["wrong_step 0"]}
        if (c["label"], c.get("condition")) == ("full", "filler 0") else c
        for c in plan.cells
    ]  # fmt: skip
    write_suite_record(root, plan.suite, cells)
    rows = {row.label: row for row in read(root).rows}
    measure = next(iter(rows["full · filler 0"].values))
    both = [rows[f"full · {name}"].values[measure] for name in ("filler 0", "wrong_step 0")]
    assert both[0] == both[1] and len(both[0]) == 1


def test_every_table_and_figure_is_made_and_the_crowded_ones_left_out(tmp_path: Path) -> None:
    root = synthetic.make(tmp_path, made(seeds=(0, 1), items=10))
    paths = build(root)
    assert {path.stem for path in paths.tables} == {
        "main", "differences", "descriptive", "detection", "coverage", "metrics", "cost"
    }  # fmt: skip
    assert {path.stem for path in paths.figures} == {
        "curves", "corrupted_weight", "weights", "captions"
    }  # fmt: skip
    page = paths.page.read_text(encoding="utf-8")
    assert 'id="figure-curves"' in page and 'id="table-detection"' in page
    frame = pd.read_csv(root / "tables" / "detection.csv")
    assert set(frame["condition"]) == {"wrong_step 0.5", "filler 0.5"}
    assert set(frame["truth"]) == {"any fault", "wrong_step", "filler"}
    assert not {"read_by", "label"} - set(frame.columns)
    assert {row["verdict"] for row in comparison.reproduce(root, root)} == {"same"}
    synthetic.make(tmp_path, Made(labels=("average",), items=4, steps=1))
    build(root)  # what this report has no data for goes
    assert not list(root.glob("figures/c*.*")) and not list(root.glob("tables/detection.*"))


def panels(
    monkeypatch: pytest.MonkeyPatch, maker: Any, results: Results
) -> list[tuple[str, Mapping[str, np.ndarray]]]:
    """Title and points (x, y) of each panel, by the colour of the line."""
    kept: list[Any] = []
    monkeypatch.setattr(curves, "Rendering", lambda figure: kept.append(figure) or {})
    assert maker(results) is not None
    found = []
    for axis in kept[0].axes:
        lines = [container.lines[0] for container in axis.containers]
        points = {str(x.get_color()): np.stack([x.get_xdata(), x.get_ydata()]) for x in lines}
        found.append((axis.get_title(loc="left"), points))
    return found


def test_curves_are_the_means_in_order_of_the_axis(
    root: Path, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = panels(monkeypatch, curves.curves, results)
    assert [title for title, _ in found] == ["wrong_step", "filler", "", ""]
    kinds = [("accuracy", 100), ("marginal_nll", 1)]
    for number, (_, points) in enumerate(found):
        (metric, scale), series = kinds[number // 2], ("wrong_step", "filler")[number % 2]
        assert len(points) == 2
        x, y = points["#000000"]  # the reference row
        expected = [values(root, "average", f"{series} {x:g}", metric).mean() for x in (0.0, 0.5)]
        assert y == pytest.approx(scale * np.array(expected))
        assert x == pytest.approx([0.0, 0.5], abs=0.04)


def test_the_weight_of_spoilt_rationales_is_drawn_where_there_are_any(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _, points in panels(monkeypatch, curves.corrupted_weight, results):
        x, y = points["#000000"]
        assert x == pytest.approx([0.5], abs=0.04)  # nothing is spoilt at 0
        assert y == pytest.approx([1.0])
        (other,) = [line for colour, line in points.items() if colour != "#000000"]
        assert 0 < other[1][0] < 0.9


def test_conditions_without_a_place_have_no_curve(tmp_path: Path) -> None:
    conditions = ({"name": "a", "data": {}}, {"name": "b", "data": {}})
    found = read(synthetic.make(tmp_path, made(conditions=conditions, seeds=(0,))))
    assert curves.curves(found) is None and curves.corrupted_weight(found) is None
    csv = formats.csv(main.main(found))
    assert list(pd.read_csv(io.StringIO(csv)).columns[:2]) == ["label", "condition"]
