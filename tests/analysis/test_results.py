"""Rows of results against the files that they are read from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from compact_bench.analysis import statistics
from compact_bench.analysis.results import (
    Results,
    cached,
    count_states,
    difference,
    item_differences,
    read,
)
from compact_bench.errors import UserError
from compact_bench.records.cells import read_cells
from compact_bench.report import page
from tests import synthetic
from tests.synthetic import Made

LABELS = ("base", "average", "compact")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Made(labels=LABELS, seeds=(0, 1), items=30, steps=2)
    return synthetic.make(tmp_path_factory.mktemp("results"), made)


@pytest.fixture(scope="module")
def results(root: Path) -> Results:
    return read(root)


def test_the_frame_has_the_last_value_of_every_cell(root: Path, results: Results) -> None:
    parts = [
        pd.read_parquet(cell.folder / "eval.parquet").assign(
            row=cell.spec["label"], seed=cell.spec["seed"]
        )
        for cell in read_cells(root)
    ]
    keys = ["row", "seed", "task", "metric", "filter", "role"]
    expected = pd.concat(parts)[[*keys, "value"]].astype({"seed": "Int64"})
    frame = results.frame()
    assert list(frame["row"].unique()) == list(LABELS)
    assert set(frame["condition"]) == {""} and set(frame["method"]) == set(LABELS)
    left, right = (f.sort_values(keys)[[*keys, "value"]] for f in (frame, expected))
    pd.testing.assert_frame_equal(
        left.reset_index(drop=True), right.reset_index(drop=True), check_dtype=False
    )


def test_before_and_chance_are_the_untrained_student_s(results: Results) -> None:
    base = results.named("base")
    for measure in results.headlines("forgetting"):
        assert base.values[measure] == {None: results.before[measure]}
        assert results.retention(base, measure) == {None: 1.0}
    assert not base.trained and results.named("compact").trained


def test_measures_are_in_the_suite_s_order_and_reasoning_comes_first(results: Results) -> None:
    tasks = [measure.task for measure in results.headlines("reasoning")]
    tasks += [measure.task for measure in results.headlines("forgetting")]
    assert tasks == list(synthetic.TASKS)
    names = [(m.task, m.metric) for m in results.main_measures]
    assert names[:3] == [
        ("in_domain", "accuracy"),
        ("in_domain", "marginal_nll"),
        ("mini_one_step", "accuracy"),
    ]


def test_a_run_without_a_seed_is_compared_to_every_seed(results: Results) -> None:
    base, compact = results.named("base"), results.named("compact")
    measure = next(m for m in results.headlines("forgetting") if m.task == "mini_facts")
    found = difference(compact, base, measure)
    mean = np.mean(list(compact.values[measure].values())) - base.values[measure][None]
    assert (found.seeds, found.items, found.mean) == (2, 30, pytest.approx(mean))
    assert difference(base, compact, measure).mean == pytest.approx(-mean)
    one = item_differences(compact, base, measure)[:1]
    assert one.shape == (1, 30)
    assert results.difference(results.reference, measure) is None


def test_values_of_another_filter_are_not_compared_by_item(root: Path) -> None:
    results = read(root)
    row, other = results.named("compact"), results.named("average")
    strict, flexible = (
        next(m for m in results.measures if (m.task, m.filter) == ("in_domain", name))
        for name in ("strict", "flexible")
    )
    assert difference(row, other, strict).test == "crossed"
    # Made up so that the flexible accuracy is above what the samples say, where it isn't capped.
    shifted = {seed: value + 0.01 for seed, value in row.values[flexible].items()}
    row.values[flexible].update(shifted)
    assert item_differences(row, other, flexible) is None
    assert difference(row, other, flexible).test == "none"


def test_one_seed_is_tested_over_its_items_where_that_is_asked_for(tmp_path: Path) -> None:
    made = Made(labels=LABELS, seeds=(0,), items=30, steps=2)
    results = read(synthetic.make(tmp_path, made))
    row, other = results.named("compact"), results.named("average")
    measure = next(m for m in results.headlines("forgetting") if m.task == "mini_facts")
    assert difference(row, other, measure).test == "none"
    found = difference(row, other, measure, one_seed=True)
    assert found == statistics.over_items(item_differences(row, other, measure)[0])


def test_what_was_computed_is_kept_for_these_results_alone(root: Path) -> None:
    calls = []

    @cached
    def count(results: Results, label: str) -> int:
        calls.append(label)
        return len(calls)

    first, second = read(root), read(root)
    assert [count(first, "a"), count(first, "a"), count(first, "b")] == [1, 1, 2]
    assert count(second, "a") == 3


def test_cells_of_another_plan_are_not_mixed_in(tmp_path: Path) -> None:
    synthetic.make(tmp_path, Made(labels=("average", "compact"), steps=3))
    before = read(tmp_path).frame()
    stale = tmp_path / "runs" / "0123456789ab"
    synthetic.write_cell(stale, "average", 0, Made(shift=-0.3, steps=3))
    assert read(tmp_path).frame().equals(before)


def test_a_done_cell_without_values_is_a_failure(tmp_path: Path) -> None:
    synthetic.make(tmp_path, Made(labels=("average",), steps=3))
    cell = next(c for c in read_cells(tmp_path) if c.spec["seed"] == 1)
    (cell.folder / "eval.parquet").unlink()
    row = read(tmp_path).rows[0]
    assert len(row.done) == 2
    assert row.problems() == ["failed (seed 1): eval.parquet holds no values"]
    assert count_states(read(tmp_path)) == {"done": 2, "failed": 1}


def _eval(**columns: object) -> pd.DataFrame:
    values = {"task": ["in_domain"], "metric": ["accuracy"], "value": [0.5], "filter": ["strict"]}
    return pd.DataFrame(values | columns)


@pytest.mark.parametrize(
    ("name", "table", "reason"),
    [
        ("eval", _eval(value=["high"]), "value holds .*string, not numbers"),
        ("eval", _eval(chance=["low"]), "chance holds .*string, not numbers"),
        ("eval", _eval(task=[7]), "task holds int64, not text"),
        ("eval", _eval(task=[None]), "rows without a task"),
        ("eval", _eval().drop(columns="metric"), "holds no values"),
        ("eval", _eval().iloc[:0], "holds no values"),
        ("steps", pd.DataFrame({"step": ["one"], "loss": [1.0]}), "step holds .*string"),
        ("latent", pd.DataFrame({"task": [1.5], "kind": ["x"]}), "task holds double, not text"),
        ("samples", '{"task": "t", "right": "yes"}\n', "samples"),
        ("samples", "[1]\n", "samples"),
    ],
)
def test_a_record_of_other_types_fails_its_cell_alone(
    tmp_path: Path, no_pictures: None, name: str, table: pd.DataFrame | str, reason: str
) -> None:
    made = Made(labels=LABELS, seeds=(0, 1), items=10, steps=1)
    root = synthetic.make(tmp_path, made)
    cell = next(c for c in read_cells(root) if c.spec["label"] == "average")
    if isinstance(table, str):
        (cell.folder / "samples.jsonl").write_text(table)
    else:
        table.to_parquet(cell.folder / f"{name}.parquet")
    row = next(row for row in read(root).rows if row.label == "average")
    assert list(row.done) == [1]
    assert len(row.problems()) == 1
    assert pd.Series(row.problems()).str.contains(reason).all(), row.problems()
    page.build(root)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: [content],
        lambda content: content | {"cells": [[]]},
        lambda content: content | {"cells": [{"label": "x"}]},
        lambda content: content | {"cells": [{"label": "x", "run_id": "../../x", "seed": 0}]},
        lambda content: content | {"cells": [{"label": "x", "run_id": "x", "seed": "0"}]},
        lambda content: content | {"cells": [{"label": [], "run_id": "x", "seed": 0}]},
        lambda content: content | {"cells": None},
        lambda content: content | {"notes": 3},
        lambda content: content | {"suite": []},
        lambda content: content | {"suite": content["suite"] | {"evaluation": []}},
        lambda content: content | {"suite": content["suite"] | {"evaluation": {"tasks": [3]}}},
        lambda content: content | {"suite": content["suite"] | {"conditions": "x"}},
        lambda content: content | {"tries": [1]},
    ],
)
def test_a_suite_record_that_is_none_is_one_line(root: Path, tmp_path: Path, change) -> None:
    content = json.loads((root / "suite.json").read_text())
    (tmp_path / "suite.json").write_text(json.dumps(change(content)))
    with pytest.raises(UserError, match=r"cannot read .*suite\.json") as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)
