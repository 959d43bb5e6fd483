"""What a run would do: which cells, in what order, and what they will take."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compact_bench.errors import UserError
from compact_bench.execution.plan import MOST_THREADS, Options, make_plan, shard_of, threads_of
from compact_bench.records.cells import CellWriter, read_cell
from compact_bench.suite.matrix import RunSpec
from compact_bench.suite.schema import load_suite

ROOT = Path(__file__).parents[2]


@pytest.fixture
def plan(write_suite, plugins, tmp_path):
    """Plan the tiny suite with some top keys replaced."""

    def made(only=(), jobs=None, shard="", threads=None, **keys):
        suite = load_suite(write_suite(**keys), "mini")
        options = Options(tmp_path / "results", None, (plugins,), only, jobs)
        return make_plan(suite, replace(options, shard=shard, threads=threads))

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


@dataclass(frozen=True)
class Planned:
    """As much of a cell as a shard looks at."""

    run_id: str
    label: str
    condition: str
    after: str = ""


@given(
    rows=st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), min_size=1, max_size=12),
    seeds=st.integers(1, 4),
    parts=st.integers(1, 5),
    by_row=st.booleans(),
)
def test_shards_hold_each_cell_once_and_are_of_like_cost(rows, seeds, parts, by_row):
    """Rows of condition a or b (three times the data), of which some read the row before."""
    sizes = {"a": 1.0, "b": 3.0}
    cells: list[Planned] = []
    for number, (condition, reads) in enumerate(rows):
        reads = reads and number > 0 and rows[number - 1][0] == condition
        for seed in range(seeds):
            after = f"{number - 1}-{seed}" if reads else ""
            cells.append(Planned(f"{number}-{seed}", str(number), condition, after))
    shards = [shard_of(cells, f"{n}/{parts}", sizes, by_row) for n in range(1, parts + 1)]
    assert sorted(c.run_id for shard in shards for c in shard) == sorted(c.run_id for c in cells)
    place = {cell.run_id: n for n, shard in enumerate(shards) for cell in shard}
    assert all(place[cell.after] == place[cell.run_id] for cell in cells if cell.after)
    if by_row:
        assert len({(cell.label, place[cell.run_id]) for cell in cells}) == len(rows)
    costs = [sum(sizes[cell.condition] for cell in shard) for shard in shards]
    longest = len(rows) * seeds if any(reads for _, reads in rows) else seeds if by_row else 1
    assert max(costs) - min(costs) <= 3 * longest


def test_a_shard_of_a_plan_keeps_the_ids_and_what_others_need(plan):
    reader = {"dummy": {"weights_from": "source"}, "label": "reader"}
    methods = ["still", reader, {"dummy": {}, "label": "source"}]
    whole = plan(methods=methods)
    parts = [plan(shard=f"{n}/2", methods=methods) for n in (1, 2)]
    assert {c.run_id for part in parts for c in part.selected} == {c.run_id for c in whole.cells}
    assert sorted(len(part.selected) for part in parts) == [2, 3]
    assert all(part.cells == whole.cells for part in parts)
    for part in parts:
        ids = {cell.run_id for cell in part.selected}
        assert {cell.after for cell in part.selected} - {""} <= ids


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "1/0", "a/b", "1/2/3", "²/3", "-1/2"])
def test_a_part_that_is_none_is_refused(plan, shard):
    with pytest.raises(UserError, match=r"--shard .*: allowed: I/N with I from 1 to N, as 2/3"):
        plan(shard=shard)


def test_threads_that_are_said_are_in_the_id_and_not_the_machine_s(plan):
    three, two = plan(threads=3, jobs=2), plan(threads=2)
    assert (three.threads, two.threads) == (3, 2)
    assert {c.threads for c in three.cells} == {3} and three.cells[0].run_id != two.cells[0].run_id


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


def test_cells_record_the_commit_that_a_data_set_of_the_hub_was_read_at(
    write_suite, plugins, tmp_path, monkeypatch
):
    commit = "a" * 40
    table = [
        {"question": f"Ann has {n} pens. How many?", "answer": n, "rationales": {"ada": f"is {n}"}}
        for n in range(30)
    ]

    def rows(source, columns, config, split):
        assert source == f"me/two@{commit}"
        part = table[:20] if split == "train" else table[20:]
        return [(f"{source}: row {n}", row) for n, row in enumerate(part, 1)]

    monkeypatch.setattr("compact_bench.data.readers.pinned", lambda source: f"{source}@{commit}")
    monkeypatch.setattr("compact_bench.data.own_files.user_rows", lambda *a: iter(rows(*a)))
    suite = load_suite(write_suite(data={"source": "me/two", "test_source": "me/two"}))
    made = make_plan(suite, Options(tmp_path / "results", plugins=(plugins,)))
    assert {cell.data["source"] for cell in made.cells} == {f"me/two@{commit}"}
    assert f"me/two of the hub, train, at commit {commit}" in made.notes


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
