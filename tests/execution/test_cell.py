"""One cell from spec to records, and every way in which it can end."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from safetensors.torch import load_file

from compact_bench.errors import UserError
from compact_bench.execution import cell
from compact_bench.execution import prepare as prepare_module
from compact_bench.execution.prepare import prepare
from compact_bench.methods.registry import load
from compact_bench.suite.matrix import Data, cells
from compact_bench.suite.schema import Suite
from tests.conftest import _rows
from tests.models import save_tiny

PLUGIN = """
from compact_bench.api import Distiller, Step


class Nan(Distiller):
    name, version, reference = "nan", 1, "none"

    def loss(self, student, batch):
        return Step(loss=student.forward(batch).nll.mean() * float("nan"))


class Wrong(Distiller):
    name, version, reference = "wrong", 1, "none"

    def weights(self, out, batch):
        raise ZeroDivisionError("a mistake in the method")


class Picky(Distiller):
    name, version, reference = "picky", 1, "none"

    def skip(self, run):
        return f"needs nine teachers, has {len(run.teachers)}"


class Looks(Distiller):
    name, version, reference = "looks", 1, "none"

    def fit(self, trainer):
        for batch in trainer.dev_batches():
            trainer.student.forward(batch, target="answer").nll.mean().backward()
        for parameter in trainer.student.trainable().values():
            parameter.grad = None
        trainer.run(self)
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("student"))


@pytest.fixture
def plugin_folder(tmp_path) -> Path:
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "odd.py").write_text(PLUGIN)
    return folder


def specs(tiny, values, plugin_folder, methods, **keys):
    merged = {k: v for k, v in values.items() if k != "profiles"} | {
        "profile": "mini",
        "methods": methods,
        "seeds": [0],
        "compare_to": methods[-1] if isinstance(methods[-1], str) else next(iter(methods[-1])),
        "student": {"id": str(tiny), "lora": {"r": 2}},
        "limit": 6,
    }
    merged["evaluation"] = {
        "marginal_samples": 2,
        "max_new_tokens": 8,
        "tasks": [{"task": "in_domain", "role": "reasoning"}],
    }
    suite = Suite.model_validate(merged | keys)
    data = [Data(suite.data.model_dump(mode="json"), "data", ("ada", "bob"))]
    found = cells(suite, load([plugin_folder]), data, "student", 1)
    return {spec.label: spec for spec in found}


def status(folder: Path) -> dict:
    return json.loads((folder / "status.json").read_text())


def test_a_cell_leaves_every_record(tiny, suite_values, plugin_folder, tmp_path):
    events = []
    spec = specs(tiny, suite_values, plugin_folder, ["average"])["average"]
    cell.run_cell(spec, tmp_path / "cell", progress=events.append)
    folder = tmp_path / "cell"
    found = status(folder)
    assert (found["state"], found["reason"]) == ("done", "")
    assert found["asked"] == {"in_domain": "Question: {question}\nAnswer:"}
    assert found["layout"] == "shared" and found["train_questions"] == 6
    assert found["tokens"] >= found["supervised_tokens"] > 0
    steps = pd.read_parquet(folder / "steps.parquet")
    assert set(steps["teacher"]) == {"ada", "bob"} and steps["step"].max() == 3
    rows = pd.read_parquet(folder / "eval.parquet").set_index(["task", "metric", "filter"])
    assert rows.loc[("in_domain", "accuracy", "strict"), "n"] == 6
    assert rows.loc[("in_domain", "marginal_nll", "none"), "value"] > 0
    assert (rows["stage"] == "after").all()
    samples = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    assert len(samples) == 6 and {"output", "right", "question_id"} <= set(samples[0])
    env = json.loads((folder / "env.json").read_text())
    assert env["threads"] == 1 and env["versions"]["torch"]
    assert all("lora_" in name for name in load_file(folder / "weights" / "trained.safetensors"))
    assert {"train", "evaluate"} <= {e.get("phase") for e in events}
    assert [e["step"] for e in events if e["event"] == "step"] == [1, 2, 3]


def test_the_same_cell_gives_the_same_bits(tiny, suite_values, plugin_folder, tmp_path):
    spec = specs(tiny, suite_values, plugin_folder, ["compact_authors"])["compact_authors"]
    for name in ("a", "b"):
        cell.run_cell(spec, tmp_path / name)
        assert status(tmp_path / name)["state"] == "done"
    read = [load_file(tmp_path / n / "weights" / "trained.safetensors") for n in ("a", "b")]
    assert all((read[0][n] == read[1][n]).all() for n in read[0])
    samples = [(tmp_path / n / "samples.jsonl").read_text() for n in ("a", "b")]
    assert samples[0] == samples[1]


@pytest.mark.parametrize(
    ("method", "state", "reason"),
    [
        ("nan", "diverged", "the loss is nan at step 1"),
        ("wrong", "failed", "ZeroDivisionError: a mistake in the method"),
        ("picky", "skipped", "needs nine teachers, has 2"),
        ("human_sft", "skipped", "the data set has no human rationales"),
        (
            *("mentor_kd", "skipped"),
            "no mentor is named: a larger model with the student's tokenizer",
        ),
        (
            *("merge_of_thought", "skipped"),
            "10 branches for 3 optimizer steps: some would train nothing",
        ),
    ],
)
def test_what_goes_wrong_is_recorded(
    tiny, suite_values, plugin_folder, tmp_path, method, state, reason
):
    spec = specs(tiny, suite_values, plugin_folder, [method])[method]
    cell.run_cell(spec, tmp_path / "cell", plugins=[plugin_folder])
    found = status(tmp_path / "cell")
    assert (found["state"], found["reason"]) == (state, reason)


@pytest.mark.parametrize("student", [{"lora": {"r": 2}}, {}], ids=["adapters", "full"])
@pytest.mark.parametrize(
    ("method", "steps"),
    [
        *(("ae_kd", 3), ("gradnorm", 3), ("pcgrad", 3), ("cagrad", 3)),
        *(("adapter_soup", 3), ({"merge_of_thought": {"rounds": 3, "budget": "own"}}, 6)),
        *(("lora_scale", 3), ("kl_to_base", 3)),
    ],
    ids=str,
)
def test_methods_that_change_the_loop_run_through(
    tiny, suite_values, plugin_folder, tmp_path, method, steps, student
):
    student = {"id": str(tiny), **student}
    (spec,) = specs(tiny, suite_values, plugin_folder, [method], student=student).values()
    cell.run_cell(spec, tmp_path / "cell")
    found = status(tmp_path / "cell")
    assert (found["state"], found["reason"]) == ("done", "")
    assert pd.read_parquet(tmp_path / "cell" / "steps.parquet")["step"].max() == steps
    assert found["selection_tokens"] == 0 and "dev_scores" not in found
    stages = {"adapter_soup": 2}.get(str(method), 1 if isinstance(method, str) else 6)
    assert (found["stages"], found["steps"]) == (stages, steps)


@pytest.mark.parametrize("by", ["accuracy", "marginal_nll"])
def test_a_choice_by_dev_scores_is_recorded_with_its_cost(
    tiny, suite_values, plugin_folder, data_files, tmp_path, by
):
    rows = _rows(30, 30, True)  # three of them are dev questions, none of the first 30 is
    with data_files[0].open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    method = {"best_teacher": {"budget": "own", "questions": 2, "by": by}}
    (spec,) = specs(tiny, suite_values, plugin_folder, [method]).values()
    cell.run_cell(spec, tmp_path / "cell")
    found = status(tmp_path / "cell")
    assert (found["state"], found["reason"]) == ("done", "")
    assert len(found["dev_scores"]) == 2
    # The rationales of both teachers are the same text, so half of the training is thrown away.
    steps = pd.read_parquet(tmp_path / "cell" / "steps.parquet")
    trained = steps.drop_duplicates(["step", "question_id"])
    assert len(trained) == 12 and set(trained["teacher"]) == {"ada", "bob"}
    training = int(steps["tokens"].max())
    assert found["tokens"] > training
    assert found["selection_tokens"] == found["tokens"] - training // 2


def test_dev_questions_that_were_laid_open_are_recorded(
    tiny, suite_values, plugin_folder, data_files, tmp_path
):
    rows = _rows(30, 30, True)  # three of them are dev questions
    with data_files[0].open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    (spec,) = specs(tiny, suite_values, plugin_folder, ["looks"]).values()
    cell.run_cell(spec, tmp_path / "cell", plugins=[plugin_folder])
    found = status(tmp_path / "cell")
    assert (found["state"], found["reason"], found["dev_questions"]) == ("done", "", 3)
    assert 0 < found["selection_tokens"] < found["tokens"]


def test_rows_longer_than_allowed_leave_nothing(tiny, suite_values, plugin_folder, tmp_path):
    training = suite_values["training"] | {"max_tokens": 20}
    spec = specs(tiny, suite_values, plugin_folder, ["average"], training=training)["average"]
    cell.run_cell(spec, tmp_path / "cell")
    found = status(tmp_path / "cell")
    assert found["state"] == "failed" and "longer than training.max_tokens" in found["reason"]
    assert found["dropped_rationales"] == 12


def test_single_teachers_train_on_their_own(tiny, suite_values, plugin_folder, tmp_path):
    found = specs(tiny, suite_values, plugin_folder, ["single_teacher", "base"])
    assert list(found) == ["single_teacher[ada]", "single_teacher[bob]", "base"]
    cell.run_cell(found["single_teacher[bob]"], tmp_path / "bob")
    steps = pd.read_parquet(tmp_path / "bob" / "steps.parquet")
    assert set(steps["teacher"]) == {"bob"} and (steps["weight"] == 1).all()


def test_base_is_the_student_before(tiny, suite_values, plugin_folder, tmp_path):
    spec = specs(tiny, suite_values, plugin_folder, ["base"])["base"]
    assert spec.seed is None
    cell.run_cell(spec, tmp_path / "cell")
    found = status(tmp_path / "cell")
    assert found["state"] == "done" and found["flops"] == 0
    assert set(pd.read_parquet(tmp_path / "cell" / "eval.parquet")["stage"]) == {"before"}
    assert not (tmp_path / "cell" / "weights").exists()


def test_a_method_that_answers_itself_has_reasoning_rows_that_are_not_before(
    tiny, suite_values, plugin_folder, tmp_path
):
    tasks = [{"task": "in_domain", "role": "reasoning"}]
    tasks += [{"task": "old", "role": "forgetting", "source": suite_values["data"]["test_source"]}]
    evaluation = {"marginal_samples": 2, "max_new_tokens": 8, "tasks": tasks}
    found = specs(tiny, suite_values, plugin_folder, ["heuristic"], evaluation=evaluation)
    assert found["heuristic"].seed is None
    cell.run_cell(found["heuristic"], tmp_path / "cell")
    done = status(tmp_path / "cell")
    assert (done["state"], done["reason"], done["tokens"]) == ("done", "", 0)
    rows = pd.read_parquet(tmp_path / "cell" / "eval.parquet")
    assert set(rows["task"]) == {"in_domain"} and set(rows["stage"]) == {"after"}
    values = rows.set_index(["metric", "filter"])["value"]
    assert values["accuracy", "strict"] == 1  # the questions are sums of two numbers
    assert "marginal_nll" not in set(rows["metric"])


def test_preflight_names_what_can_not_be_loaded(tiny, suite_values, plugin_folder, tmp_path):
    found = specs(tiny, suite_values, plugin_folder, ["average"])["average"]
    cell.preflight(found)
    student = {"id": str(tmp_path / "gone")}
    found = specs(tiny, suite_values, plugin_folder, ["average"], student=student)["average"]
    with pytest.raises(UserError, match="no file or folder"):
        cell.preflight(found)


def test_the_suites_limit_reaches_every_task(suite_values):
    tasks = [
        {"task": "a", "role": "reasoning", "kind": "lm_eval"},
        {"task": "b", "role": "reasoning", "kind": "lm_eval", "limit": 3},
        {"task": "c", "role": "reasoning", "kind": "lm_eval", "limit": 30},
    ]
    values = {k: v for k, v in suite_values.items() if k != "profiles"} | {"profile": "mini"}
    values["evaluation"] = {"tasks": tasks}

    def limits(limit):
        suite = Suite.model_validate(values | {"limit": limit})
        return [task.limit for task in cell.limited(suite).tasks]

    assert limits(8) == [8, 3, 8]
    assert limits(None) == [None, 3, 30]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_new_tokens": 5000}, "5000 leaves no room"),
        (
            {"tasks": [{"task": "no_such_task", "role": "reasoning", "kind": "lm_eval"}]},
            "evaluation.tasks: the data of lm-eval's task 'no_such_task' can't be loaded",
        ),
    ],
)
def test_preflight_checks_what_evaluation_will_need(
    tiny, suite_values, plugin_folder, changes, message
):
    import dataclasses

    found = specs(tiny, suite_values, plugin_folder, ["average"])["average"]
    found = dataclasses.replace(found, evaluation=found.evaluation | changes)
    with pytest.raises(UserError, match=message):
        cell.preflight(found)


@pytest.mark.parametrize("student", [{"lora": {"r": 2}}, {}], ids=["adapters", "full"])
def test_with_equal_flops_a_row_that_reads_less_trains_longer(
    tiny, suite_values, plugin_folder, tmp_path, student
):
    training = suite_values["training"] | {"epochs": 2}
    names = [{"single_teacher": {"teacher": "bob"}}, "grape", "average"]
    found = {}
    for budget in ("steps", "flops"):
        keys = {"student": {"id": str(tiny)} | student, "training": training | {"budget": budget}}
        for label, spec in specs(tiny, suite_values, plugin_folder, names, **keys).items():
            cell.run_cell(spec, tmp_path / budget / label)
            steps = pd.read_parquet(tmp_path / budget / label / "steps.parquet")
            found[budget, label] = status(tmp_path / budget / label) | {"steps": steps["step"]}
    whole = found["steps", "average"]["flops"]
    assert found["flops", "average"]["flops"] == whole
    for label in ("grape", "single_teacher[bob]"):
        one = found["flops", label]
        last = one["flops"] / one["steps"].max()  # no step is larger than twice the mean
        assert whole <= one["flops"] < whole + 2 * last
        assert found["steps", label]["steps"].max() == 6 < one["steps"].max()
    # What was spent on selecting is a part of the budget.
    assert found["flops", "grape"]["steps"].max() < found["flops", label]["steps"].max()


def test_cells_of_a_worker_share_their_data_and_change_no_number(
    tiny, suite_values, plugin_folder, tmp_path, monkeypatch
):
    """The second cell of a process records what it records in a process of its own."""
    found = specs(tiny, suite_values, plugin_folder, ["single_teacher", "average"])
    made = []
    monkeypatch.setattr(prepare_module, "_recent", type(prepare_module._recent)())
    monkeypatch.setattr(
        prepare_module, "prepare", lambda *given: made.append(given) or prepare(*given)
    )
    cell.run_cell(found["single_teacher[bob]"], tmp_path / "first")
    cell.run_cell(found["average"], tmp_path / "shared")
    assert len(made) == 1
    prepare_module._recent.clear()
    cell.run_cell(found["average"], tmp_path / "alone")
    assert len(made) == 2
    for name in ("eval.parquet", "steps.parquet"):
        shared, alone = (pd.read_parquet(tmp_path / n / name) for n in ("shared", "alone"))
        pd.testing.assert_frame_equal(
            *(table.drop(columns="seconds", errors="ignore") for table in (shared, alone))
        )
    texts = [(tmp_path / n / "samples.jsonl").read_text() for n in ("shared", "alone")]
    assert texts[0] == texts[1]
