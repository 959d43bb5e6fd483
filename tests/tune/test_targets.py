"""The rows that are tuned: names, what a suite must have, and the cells of a trial."""

from __future__ import annotations

import json

import pytest

from compact_bench.errors import UserError
from tests.tune.conftest import KEYS


@pytest.mark.parametrize(
    ("names", "section", "keys", "message"),
    [
        (["nobs"], {}, {}, r"no row or method 'nobs' to tune \(did you mean 'knobs'\?\)"),
        (["still"], {}, {}, "still trains nothing: there is nothing to tune"),
        (["knobs", "knobs"], {}, {}, "'knobs' is to be tuned twice"),
        (["dummy"], {"learning_rates": [0.002]}, {}, "dummy has nothing to tune"),
        (["knobs"], {"space": {"knobs": {"y": [0, 1]}}}, {}, "'y' can't be searched"),
        (["knobs"], {"space": {"nobs": {"x": [0, 1]}}}, {}, "names no row or method .*'knobs'"),
        (["knobs"], {"seeds": [0]}, {}, "seed 0 is one of the search's own"),
        (["knobs"], {"objective": ["accuracy", "old_accuracy"]}, {}, "needs forgetting tasks"),
        (["knobs"], {}, {"conditions": [{"name": "a", "data": {}}]}, "one condition"),
        (["knobs"], {}, {"evaluation": KEYS["evaluation"] | {"select": True}}, "reads the dev"),
        (["knobs"], {}, {"evaluation": {"marginal_samples": 0,
         "tasks": [{"task": "in_domain", "role": "reasoning"}]}}, "needs evaluation.marginal_sam"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_nothing_starts(suite, go, folder, names, section, keys, message):
    with pytest.raises(UserError, match=message):
        go(suite(keys, **section), *names)
    assert not (folder / "runs").exists()


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            {"space": {"knobs": {"x": [0.9, 0.1]}}},
            r"tiny.yaml:\d+: tune: space.knobs.x: the range ",
        ),
        ({"trials": 0}, r"tiny.yaml:\d+: tune.trials: .*greater than or equal to 1, got 0"),
        ({"split": "test"}, r"tiny.yaml:\d+: tune.split: .*'dev'.*got 'test'"),
        ({"objective": ["nll"]}, "tune.objective.0: .*got 'nll'"),
        ({"objective": ["old_accuracy"]}, "the first is marginal_nll or accuracy"),
        ({"objective": ["accuracy", "old_accuracy"], "pruner": "median"}, "needs one objective"),
        ({"sampler": "nsga2"}, "for two objectives"),
        ({"seeds": [1, 1]}, "holds a value twice"),
        ({"sampler": "cmaes"}, "tune.sampler: .*got 'cmaes'"),
    ],
)
def test_a_bad_tune_section_names_its_line(suite, section, message):
    with pytest.raises(UserError, match=message):
        suite(**section)


def test_an_empty_dev_split_is_an_error(suite, go, tmp_path):
    from compact_bench.data.splits import is_dev

    questions = [f"Ann has {n} apples and buys one more. How many?" for n in range(40)]
    rows = [q for q in questions if not is_dev(q)][:10]
    train, test = tmp_path / "nodev.jsonl", tmp_path / "nodev_test.jsonl"
    row = {"answer": "1", "rationales": {"ada": "1. The answer is 1"}}
    train.write_text("".join(json.dumps(row | {"question": q}) + "\n" for q in rows))
    test.write_text(json.dumps({"question": "How many are 2 and 5?", "answer": "7"}) + "\n")
    data = {"source": str(train), "test_source": str(test), "answer": "number"}
    with pytest.raises(UserError, match="the dev split is empty"):
        go(suite({"data": data}), "knobs")


def test_old_questions_are_other_ones_than_the_reports(suite, options):
    from compact_bench.execution.prepare import prepare
    from compact_bench.tune.targets import trial_suite

    tasks = [{"task": "in_domain", "role": "reasoning"},
             {"task": "mini_one_step", "role": "forgetting", "limit": 3}]  # fmt: skip
    keys = {"evaluation": {"marginal_samples": 2, "tasks": tasks}}
    whole = suite(keys, objective=["marginal_nll", "old_accuracy"])
    report = prepare(whole)
    tuning = prepare(trial_suite(whole, whole.tune))
    for asked, searched in zip(report.tasks, tuning.tasks, strict=True):
        assert len(searched.items)
        assert not set(asked.items["question"]) & set(searched.items["question"])
