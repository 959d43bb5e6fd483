"""What a plan checks before training: names of tasks, and rationales that are too long."""

from __future__ import annotations

import json

import pytest
from transformers import AutoTokenizer

from compact_bench.errors import UserError
from compact_bench.execution import checks
from compact_bench.execution.plan import Options, make_plan
from compact_bench.mini.nano.pretrain import nano_path
from compact_bench.suite.schema import load_suite

LM_EVAL = {"role": "forgetting", "kind": "lm_eval"}


@pytest.fixture
def plan(write_suite, suite_values, plugins, tmp_path):
    """Plan the tiny suite with keys of its training and other top keys replaced."""

    def made(training, **keys):
        suite = load_suite(
            write_suite(training=suite_values["training"] | training, **keys), "mini"
        )
        return make_plan(suite, Options(tmp_path / "results", None, (plugins,)))

    return made


@pytest.fixture
def lengths(data_files):
    """Every rationale of `data_files`, which ends in its answer sentence: its tokens, its prompt's
    and the end's; some of bob's made longer first."""
    path = data_files[0]
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for number, row in enumerate(rows):
        if number % 3 == 0:
            row["rationales"]["bob"] = "and one more, " * (20 + number) + row["rationales"]["bob"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tokenizer = AutoTokenizer.from_pretrained(nano_path())

    def tokens(question, text):
        prompt = tokenizer(f"Question: {question}\nAnswer:", add_special_tokens=False)["input_ids"]
        target = tokenizer(f" {text}", add_special_tokens=False)["input_ids"]
        return len(prompt) + len(target) + 1

    return {
        (row["question"], name): tokens(row["question"], text)
        for row in rows
        for name, text in row["rationales"].items()
    }


def test_rationales_that_are_too_long_are_counted(plan, lengths):
    read = plan({"max_tokens": 10_000})
    assert read.too_long == ()
    questions = set(read.prepared.train.questions["question"])
    ours = {key: length for key, length in lengths.items() if key[0] in questions}
    limit = sorted(ours.values())[-3]  # two are longer
    made = plan({"max_tokens": limit})
    assert {name for (_, name), length in ours.items() if length > limit} == {"bob"}
    assert made.too_long == (
        f"2 of {len(ours)} rationales are longer than training.max_tokens ({limit}) and not read: "
        "bob 2; 0 questions have none left",
    )
    assert made.too_long[0] in made.notes and made.too_long[0] in made.summary()["notes"]


def test_a_run_of_which_nothing_is_left_is_refused(plan):
    with pytest.raises(UserError, match=r"tiny.yaml:\d+: all \d+ rationales are longer than 3 to"):
        plan({"max_tokens": 3})


def test_without_the_tokenizer_the_plan_says_so(plan):
    made = plan({"max_tokens": 3}, student={"id": "nobody/nothing-here"})
    assert made.too_long == (
        "how many rationales training.max_tokens (3) cuts: the tokenizer of "
        "'nobody/nothing-here' is not at hand",
    )


def test_each_condition_has_its_own_line(plan, data_files):
    conditions = [{"name": "short", "data": {"teachers": ["ada"]}}, {"name": "both", "data": {}}]
    text = data_files[0].read_text()
    data_files[0].write_text(text.replace('"bob": "', '"bob": "' + "x " * 400))
    (line,) = plan({"max_tokens": 400}, conditions=conditions).too_long
    assert line.startswith("both: ")


def test_a_mistyped_task_of_lm_eval_has_its_line(plan, suite_values, monkeypatch):
    monkeypatch.setattr(checks, "_lm_eval_tasks", lambda: frozenset({"arc_easy", "arc_challenge"}))
    tasks = suite_values["evaluation"]["tasks"]
    evaluation = suite_values["evaluation"] | {"tasks": [*tasks, {"task": "arc_esy", **LM_EVAL}]}
    with pytest.raises(UserError, match=r"tiny.yaml:\d+: lm-eval has no task 'arc_esy' \(did you"):
        plan({}, evaluation=evaluation)
    evaluation["tasks"][-1]["task"] = "arc_easy"
    assert plan({}, evaluation=evaluation).cells
