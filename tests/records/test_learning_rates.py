"""Each row's learning rate, chosen on the dev split before the table's cells are trained."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pandas as pd
import pytest

from compact_bench.analysis.results import read
from compact_bench.commands.publish import publish_folder
from compact_bench.commands.run import run_suite
from compact_bench.errors import UserError
from compact_bench.execution import run
from compact_bench.execution.plan import Options, make_plan
from compact_bench.execution.pool import WorkerEntry
from compact_bench.records import learning_rates
from compact_bench.records.cells import Cell, CellWriter, read_cell
from compact_bench.records.learning_rates import RateTrial
from compact_bench.records.suite_record import read_suite_record
from compact_bench.report.tables.cost import selection
from compact_bench.suite.schema import load_suite
from tests.execution.test_run import STUBS

pytestmark = pytest.mark.usefixtures("no_pictures")

ENTRY = WorkerEntry(threads=1, cell="stub_cells:dev_cell", check="stub_cells:check")
RATES = [0.001, 0.002, 0.004]
KEYS = {
    "methods": ["still", "dummy", {"dummy": {"behave": "done", "weights_from": "dummy"},
                                   "label": "follower"}],
    "selection": {"learning_rates": RATES, "seeds": [7], "metric": "marginal_nll"},
    "evaluation": {
        "marginal_samples": 2,
        "tasks": [{"task": "in_domain", "role": "reasoning"}],
    },
    "training": {"learning_rate": 0.001, "epochs": 1, "batch_size": 2},
    "data": {"source": "mini", "train": 4, "dev": 3, "test": 3, "mini": {"problem": "gsm8k"}},
}  # fmt: skip


@pytest.fixture(autouse=True)
def _stubs(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(STUBS))


@pytest.fixture
def options(tmp_path, plugins):
    return Options(tmp_path / "results", None, (plugins,))


@pytest.fixture
def suite(write_suite):
    return load_suite(write_suite(**KEYS), "mini")


def test_rates_are_tried_on_dev_first_and_rows_wait_for_theirs(suite, options):
    plan = make_plan(suite, options)
    tried = [(s.label, s.training["learning_rate"], s.seed) for s in plan.tries]
    assert tried == [("dummy", rate, 7) for rate in RATES]  # the follower has the dummy's
    assert all(s.evaluation["select"] for s in plan.tries)
    waiting = [s.label for s in plan.cells if s.run_id in plan.waiting]
    assert waiting == ["dummy", "dummy", "follower", "follower"]
    assert [s.label for s in plan.pending()] == ["dummy"] * 3 + ["still"]
    found = plan.summary()
    waits = [cell for cell in found["cells"] if cell["status"] == "waiting"]
    assert len(waits) == 4 and {cell["run_id"] for cell in waits} == {None}
    assert found["estimate"]["cells"] == len(found["cells"]) == 8


@pytest.fixture
def done(suite, options):
    lines: list[str] = []
    code = run_suite(suite, options, lines.append, ENTRY)
    return code, lines, make_plan(suite, options)


def test_the_best_rate_on_dev_is_trained_with_the_suites_seeds(suite, options, done):
    code, lines, plan = done
    assert code == 0  # that one of several learning rates diverges is no failure
    assert not plan.waiting
    trained = {(s.label, s.seed): s.training["learning_rate"] for s in plan.cells}
    assert trained == {
        ("still", None): 0.001,
        **{(label, seed): 0.002 for label in ("dummy", "follower") for seed in (0, 1)},
    }
    assert [read_cell(plan.folder(s)).state for s in plan.cells] == ["done"] * 5
    assert "tiny mini: 8 cells, 0 of them kept" in lines
    assert "cells: 1 diverged, 7 done" in lines
    run_suite(suite, options, lines.append, ENTRY)
    assert "tiny mini: 8 cells, 8 of them kept" in lines
    every = [plan.folder(spec) / "tries" for spec in (*plan.tries, *plan.cells)]
    assert [file.read_text() for file in every] == ["x"] * 8


def test_what_was_tried_is_in_no_row_and_is_published(options, done, tmp_path):
    root = options.results / "tiny/mini"
    results = read(root)
    nll = {one.rate: one.value("marginal_nll") for one in results.tries}
    assert nll[0.001] == pytest.approx(7.001) and math.isnan(nll[0.004])
    assert [len(row.cells) for row in results.rows] == [1, 2, 2]
    assert results.splits == ("test",)
    assert (
        "a learning rate of its own, chosen alike among 0.001, 0.002, 0.004"
        in selection(results).caption.setting
    )
    publish_folder(root, tmp_path / "published")
    again = read(tmp_path / "published")
    pd.testing.assert_frame_equal(selection(again).numbers, selection(results).numbers)


def test_a_row_that_no_rate_could_train_keeps_the_suites(suite, options):
    plan = make_plan(suite, options)
    for spec in plan.tries:
        CellWriter(plan.folder(spec)).status("skipped", "it lacks something")
    plan = make_plan(suite, options)
    assert not plan.waiting
    assert {spec.training["learning_rate"] for spec in plan.cells} == {0.001}


def test_until_all_rates_of_a_row_have_ended_its_cells_are_not_run_yet(suite, options):
    plan = make_plan(suite, options)
    states = ["skipped", "skipped", "failed"]  # a failed one is tried again
    for spec, state in zip(plan.tries, states, strict=True):
        CellWriter(plan.folder(spec)).status(state, "a reason")
    run.write_records(make_plan(suite, options))
    planned = read_suite_record(plan.root)
    ids = {(c["label"], c["seed"]): c["run_id"] for c in planned.cells}
    assert ids["dummy", 0] == ids["dummy", 1] == ""
    assert ids["follower", 0] == ""
    rows = {row.label: row for row in read(plan.root).rows}
    assert rows["dummy"].problems() == ["not run yet (seeds 0, 1)"]


def test_what_diverged_is_repeated_when_asked(suite, options):
    plan = make_plan(suite, options)
    for spec in plan.tries:
        CellWriter(plan.folder(spec)).status("diverged", "the loss is nan")
    for spec in make_plan(suite, options).cells:
        CellWriter(plan.folder(spec)).status("diverged", "the loss is nan")
    again = dataclasses.replace(options, retry=True)
    run_suite(suite, again, lambda line: None, ENTRY)
    every = [plan.folder(spec) / "tries" for spec in (*plan.tries, *make_plan(suite, again).cells)]
    assert [file.exists() for file in every] == [True] * 8


def test_a_broken_record_of_a_try_is_no_value(suite, options, done):
    plan = make_plan(suite, options)
    broken = next(s for s in plan.tries if s.training["learning_rate"] == 0.002)
    (plan.folder(broken) / "eval.parquet").write_text("nothing")
    trained = {s.training["learning_rate"] for s in make_plan(suite, options).cells}
    assert trained == {0.001}
    assert read(plan.root).tries


def test_real_cells_choose_by_the_dev_split(write_suite, options):
    keys = KEYS | {"methods": ["base", "average"], "compare_to": "average", "seeds": [1]}
    keys |= {"selection": {"learning_rates": [0.001, 1e-9], "seeds": [0], "items": 2,
                           "metric": "marginal_nll"}}  # fmt: skip
    suite = load_suite(write_suite(**keys), "mini", ["evaluation.max_new_tokens=8"])
    assert run_suite(suite, options, lambda line: None) == 0
    results = read(options.results / "tiny/mini")
    tried = {one.rate: one.value("marginal_nll") for one in results.tries}
    best = min(tried, key=tried.__getitem__)
    row = next(row for row in results.rows if row.label == "average")
    assert row.done[1].spec["training"]["learning_rate"] == best
    cells = [cell for one in results.tries for cell in one.cells]
    assert {(cell.eval()["split"].unique().item(), cell.eval()["n"].max()) for cell in cells} == {
        ("dev", 2)
    }


def candidate(
    rate: float, *values: float, metric: str = "marginal_nll", nll: float | None = None
) -> RateTrial:
    class Done(Cell):
        def eval(self) -> pd.DataFrame:
            row = {"task": "in_domain", "split": "dev", "filter": "none", "stderr": 0.1}
            rows = [row | {"metric": metric, "value": self.spec["value"]}]
            if nll is not None:
                rows.append(row | {"metric": "marginal_nll", "value": nll})
            return pd.DataFrame(rows)

    cells = [Done("x", Path(), {"value": v}, {}, {"state": "done"}) for v in values]
    return RateTrial(("row", ""), rate, tuple(cells))


def test_the_lowest_nll_or_the_highest_accuracy_wins_and_the_first_of_equals():
    nll = [candidate(1.0, 3.0, 3.0), candidate(2.0, 2.0, 2.5), candidate(3.0, 2.5, 2.0)]
    assert learning_rates.best(nll, "marginal_nll").rate == 2.0
    accuracy = [candidate(rate, value, metric="accuracy") for rate, value in ((1, 0.2), (2, 0.4))]
    assert learning_rates.best(accuracy, "accuracy").rate == 2
    broken = dataclasses.replace(nll[1], cells=(nll[1].cells[0], Cell("y", Path())))
    assert learning_rates.best([nll[0], broken], "marginal_nll").rate == 1.0
    assert learning_rates.best([broken], "marginal_nll") is None
    assert learning_rates.chosen([nll[0], broken], "marginal_nll", 9.0) == {}


def test_of_equal_accuracies_the_lower_marginal_nll_wins():
    tied = [
        candidate(rate, value, metric="accuracy", nll=nll)
        for rate, value, nll in ((1, 0.4, 3.0), (2, 0.4, 2.0), (3, 0.3, 1.0), (4, 0.4, None))
    ]
    assert learning_rates.best(tied, "accuracy").rate == 2
    assert learning_rates.best(tied[2:], "accuracy").rate == 4  # accuracy comes first
    unmeasured = [candidate(rate, 0.4, metric="accuracy") for rate in (5, 6)]
    assert learning_rates.best(unmeasured, "accuracy").rate == 5


BAD = {
    "holds a value twice": {"selection": {"learning_rates": [0.001, 0.001]}},
    "at least 2 items": {"selection": {"learning_rates": [0.1]}},
    "greater than 0": {"selection": {"learning_rates": [0.1, -1]}},
    "unknown key 'rates'": {"selection": {"rates": [0.1, 0.2]}},
    "needs evaluation.marginal_samples": {
        "evaluation": {**KEYS["evaluation"], "marginal_samples": 0}
    },
    "which selection needs itself": {"evaluation": {**KEYS["evaluation"], "select": True}},
    "is none of selection.learning_rates": {
        "training": {"learning_rate": 0.5, "epochs": 1, "batch_size": 2}
    },
    "has no marginal_nll": {
        "evaluation": {
            "marginal_samples": 1,
            "tasks": [{"task": "in_domain", "role": "reasoning", "kind": "choice"}],
        }
    },
    "in_domain, which is not set": {
        "evaluation": {"tasks": [{"task": "mini_facts", "role": "forgetting"}]}
    },
}


@pytest.mark.parametrize("said", BAD)
def test_bad_input_is_one_line(write_suite, said):
    with pytest.raises(UserError, match=said) as error:
        load_suite(write_suite(**(KEYS | BAD[said])), "mini")
    assert "\n" not in str(error.value)
