"""What a run would do: which cells, in what order, and what they will take."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compact_bench.errors import UserError
from compact_bench.execution.plan import MOST_THREADS, Options, make_plan, threads_of
from compact_bench.records.cells import CellWriter, read_cell
from compact_bench.suite.matrix import RunSpec
from compact_bench.suite.schema import load_suite

ROOT = Path(__file__).parents[2]


@pytest.fixture
def plan(write_suite, plugins, tmp_path):
    """Plan the tiny suite with some top keys replaced."""

    def made(only=(), jobs=None, **keys):
        suite = load_suite(write_suite(**keys), "mini")
        return make_plan(suite, Options(tmp_path / "results", None, (plugins,), only, jobs))

    return made


def names(cells):
    return [(cell.label, cell.condition, cell.seed) for cell in cells]


def test_seeds_come_one_after_the_other(plan):
    made = plan(methods=["dummy", "still"], seeds=[3, 1])
    assert [(s.label, s.seed) for s in made.pending()] == [
        ("still", None), ("dummy", 3), ("dummy", 1),
    ]  # fmt: skip


def test_neighbours_of_a_seed_share_their_data(plan):
    conditions = [{"name": str(size), "data": {"train": size}} for size in (4, 5)]
    rows = [{"dummy": {"behave": name}, "label": name} for name in ("a", "b")]
    made = plan(methods=["still", *rows], seeds=[0, 1], conditions=conditions)
    assert names(made.pending()) == [
        ("still", "", None),
        *(("a", "4", 0), ("b", "4", 0), ("a", "5", 0), ("b", "5", 0)),
        *(("a", "4", 1), ("b", "4", 1), ("a", "5", 1), ("b", "5", 1)),
    ]


def test_conditions_of_equal_data_are_one_cell(plan):
    twice = [{"name": name, "data": {"train": 4}} for name in ("four", "also four")]
    made = plan(seeds=[0], conditions=twice)
    assert names(made.cells) == [
        ("still", "", None), ("dummy", "four", 0), ("dummy", "also four", 0),
    ]  # fmt: skip
    assert [c.label for c in made.pending()] == ["still", "dummy"]


def test_ended_cells_are_not_pending_and_diverged_ones_only_when_asked(plan):
    rows = [
        {"dummy": {"behave": state}, "label": state} for state in ("done", "failed", "diverged")
    ]
    made = plan(methods=["still", *rows], seeds=[0])
    for spec in made.cells[1:]:
        CellWriter(made.folder(spec)).status(spec.label)
    assert [spec.label for spec in made.pending()] == ["still", "failed"]
    assert [spec.label for spec in made.pending(retry=True)] == ["still", "failed", "diverged"]


def test_only_names_rows_or_methods(plan):
    rows = [{"dummy": {"behave": name}, "label": name} for name in ("a", "b")]
    methods = {"methods": ["still", *rows], "seeds": [0]}
    assert [spec.label for spec in plan(only=("b",), **methods).selected] == ["b"]
    assert [spec.label for spec in plan(only=("dummy",), **methods).selected] == ["a", "b"]
    with pytest.raises(UserError, match=r"--only dumy: no such row \(did you mean 'dummy'\?\)"):
        plan(only=("dumy",))


def test_a_request_begins_the_records_of_a_cell(plan, tmp_path):
    spec = plan().cells[1]
    folder = tmp_path / "cell"
    CellWriter(folder).status("failed", "an earlier try")
    options = Options(tmp_path, tmp_path / "mirror", (tmp_path / "a",))
    request = options.request(spec, folder)
    cell = read_cell(folder)
    assert cell.state == "missing"
    assert cell.spec == request["spec"] and cell.spec["run_id"] == spec.run_id
    assert RunSpec.from_json(request["spec"]) == spec
    assert request["mirror"] == str(tmp_path / "mirror")
    assert request["plugins"] == [str(tmp_path / "a")]


def test_a_run_id_is_computed_once_a_cell(plan, monkeypatch):
    made = plan(seeds=list(range(5)))
    ids = [spec.run_id for spec in made.cells]

    def again(spec):
        raise AssertionError(f"{spec.name} is hashed again")

    monkeypatch.setattr(RunSpec, "_values", again)
    assert [cell["run_id"] for cell in made.summary()["cells"]] == ids


def test_the_estimate_rests_on_cells_that_are_done(plan):
    made = plan(seeds=[0, 1, 2], jobs=2)
    counted = made.summary()["estimate"]
    assert counted["cells"] == 4 and "token counts" in counted["source"]
    costs = {"seconds": 2.0, "flops": 100.0, "tokens": 10}
    CellWriter(made.folder(made.cells[1])).status("done", **costs)
    estimate = made.summary()["estimate"]
    assert estimate == {
        "cells": 3, "seconds": 3 * 2.0 / 2, "flops": 300.0, "tokens": 30.0,
        "source": "1 cells of this suite that are done",
    }  # fmt: skip


def test_threads_are_shared_out_among_jobs():
    assert [threads_of(jobs, 6) for jobs in (1, 2, 4, 9)] == [6, 3, 1, 1]
    assert threads_of(1, 1000) == MOST_THREADS


def test_a_row_of_recorded_weights_sees_the_gold_answer_where_their_source_does(tmp_path):
    rows = [
        *("compact", "compact_authors"),
        {"label": "a", "compact_entropy": {"weights_from": "compact"}},
        {"label": "b", "compact_entropy": {"weights_from": "compact_authors"}},
    ]
    changes = [f"methods={json.dumps(rows)}", "data.train=4", "compare_to=compact"]
    suite = load_suite(ROOT / "suites" / "gsm8k.yaml", "mini", [*changes, "selection=null"])
    gold = make_plan(suite, Options(tmp_path)).gold
    assert gold == {"compact": False, "compact_authors": True, "a": False, "b": True}
