"""Reports of a cell in training: their values, no trace in the cell, and the search's decision."""

from __future__ import annotations

import json

import pytest
from safetensors.torch import load_file

from compact_bench.execution import cell
from compact_bench.methods.registry import load
from compact_bench.records.cells import read_cell
from compact_bench.suite.matrix import Data, cells
from compact_bench.suite.schema import Suite
from compact_bench.training import pruning
from tests.models import save_tiny

METRICS = ("marginal_nll", "accuracy")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_tiny("llama", tmp_path_factory.mktemp("student"))


@pytest.fixture
def made(tiny, suite_values):
    """Makes the cell of a method that is asked the dev split, with reports or without."""

    def make(method="average", at=(), metric="marginal_nll", lora=True):
        values = {k: v for k, v in suite_values.items() if k != "profiles"} | {
            "profile": "mini", "methods": [method], "seeds": [0], "compare_to": "",
            "data": {"source": "mini", "train": 8, "dev": 4, "mini": {"problem": "gsm8k"}},
            "student": {"id": str(tiny), "lora": {"r": 2} if lora else None},
            "evaluation": {
                "select": True, "marginal_samples": 2, "max_new_tokens": 8,
                "tasks": [{"task": "in_domain", "role": "reasoning"}],
                "reports": {"at": list(at), "metric": metric} if at else None,
            },
        }  # fmt: skip
        suite = Suite.model_validate(values)
        data = [Data(suite.data.model_dump(mode="json"), "data", ("ada", "bob"))]
        (spec,) = cells(suite, load([]), data, "student", 1)
        return spec

    return make


def run(spec, folder, answer=lambda event: True):
    """Run a cell; return its records and what it reported."""
    reports = []

    def progress(event):
        if event["event"] != "report":
            return None
        reports.append((event["point"], event["value"]))
        return answer(event)

    cell.run_cell(spec, folder, progress=progress)
    return read_cell(folder), reports


@pytest.mark.parametrize("lora", [True, False])
def test_reporting_changes_nothing(made, tmp_path, lora):
    plain, _ = run(made(lora=lora), tmp_path / "plain")
    reporting, reports = run(made(at=(0.3, 0.7), lora=lora), tmp_path / "reporting")
    assert [point for point, _ in reports] == [0, 1]
    first, second = (
        load_file(one.folder / "weights/trained.safetensors") for one in (plain, reporting)
    )
    assert all((first[name] == second[name]).all() for name in first)
    assert plain.samples() == reporting.samples()
    counted = ("tokens", "flops", "supervised_tokens", "selection_tokens")
    assert all(plain.status[name] == reporting.status[name] for name in counted)


@pytest.mark.parametrize("metric", METRICS)
def test_a_report_after_the_last_step_is_the_value_of_the_evaluation(made, tmp_path, metric):
    """0.99 of the steps is reached by the last one, which trains the final student."""
    found, reports = run(made(at=(0.99,), metric=metric), tmp_path / "cell")
    table = found.eval().query("metric == @metric and filter in ['strict', 'none']")
    assert [value for _, value in reports] == pytest.approx(table["value"].tolist(), rel=1e-5)


def test_a_stopped_cell_is_pruned_and_records_what_it_cost(made, tmp_path):
    spec = made(at=(0.3, 0.7))
    found, reports = run(spec, tmp_path / "cell", lambda event: event["point"] < 0)
    assert found.state == "pruned"
    assert found.status["reason"] == "stopped at 30% of the training"
    whole, _ = run(spec, tmp_path / "whole")
    assert 0 < found.status["tokens"] < whole.status["tokens"]
    assert len(reports) == 1
    assert not (found.folder / "weights").exists()


def test_an_interrupted_cell_reports_the_same_again_without_measuring(made, tmp_path, monkeypatch):
    from compact_bench.training.dev_score import DevScore

    spec = made(at=(0.3, 0.7))
    _, whole = run(spec, tmp_path / "whole")

    def interrupt(event):
        if event["point"] == 1:
            raise KeyboardInterrupt
        return True

    with pytest.raises(KeyboardInterrupt):
        run(spec, tmp_path / "cell", interrupt)
    asked = []
    of = DevScore.of
    monkeypatch.setattr(DevScore, "of", lambda *args: asked.append(1) or of(*args))
    found, again = run(spec, tmp_path / "cell")
    assert again == whole
    assert asked == []
    assert found.state == "done"
    assert json.loads((found.folder / "reports.json").read_text()) == [v for _, v in whole]


def test_a_training_in_stages_reports_nothing(made, tmp_path):
    found, reports = run(made("adapter_soup", at=(0.5,)), tmp_path / "cell")
    assert found.state == "done"
    assert reports == []


@pytest.mark.parametrize("content", ["", "{", "3", '["a"]', "[null]", "[[1]]"])
def test_damaged_reports_are_measured_again(tmp_path, content):
    (tmp_path / pruning.FILE).write_text(content)
    assert pruning.read(tmp_path) == []
