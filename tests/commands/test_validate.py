"""`validate`: every profile is checked, with data where that needs no download."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GSM8K = str(ROOT / "suites" / "gsm8k.yaml")


def test_validate(call, refused, write_suite, plugins):
    code, out, _ = call("validate", GSM8K, write_suite(), "--plugins", plugins)
    assert code == 0
    assert out.count(": ok") == 5
    assert "did you mean 'still'" in refused(
        "validate", write_suite(methods=["stil"]), "--profile", "mini", "--plugins", plugins
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"source": "svmp", "test_source": None}, "did you mean 'svamp'"),
        ({"source": "svamp", "test_source": None, "teachers": ["gpt4"]}, "teacher 'gpt4'"),
    ],
)
def test_validate_checks_names_without_reading_the_data(
    call, write_suite, suite_values, plugins, changes, expected
):
    path = write_suite(data=suite_values["data"] | changes)
    code, out, err = call("validate", path, "--plugins", plugins)
    assert code == 2
    assert expected in out + err


def test_validate_reads_nothing_of_the_hub(call, write_suite, plugins):
    suite = write_suite(data={"source": "me/two"})
    code, out, err = call("validate", suite, "--profile", "mini", "--plugins", plugins)
    assert code == 0 and "data unread" in out, err


def test_validate_takes_overrides(call, refused, write_suite, plugins):
    tail = ["--profile", "mini", "--plugins", plugins]
    code, out, _ = call("validate", write_suite(), "--set", "seeds=[7]", *tail)
    assert code == 0 and "1 seed: ok" in out
    assert "--set seeds=x" in refused("validate", write_suite(), "--set", "seeds=x", *tail)


def test_validate_names_a_mistyped_task_of_lm_eval(refused, write_suite, plugins, monkeypatch):
    monkeypatch.setattr(
        "compact_bench.execution.checks._lm_eval_tasks", lambda: frozenset({"arc_easy"})
    )
    task = "evaluation.tasks.0={task: arc_esy, role: forgetting, kind: lm_eval}"
    message = refused(
        "validate", write_suite(), "--profile", "mini", "--set", task, "--plugins", plugins
    )
    assert "lm-eval has no task 'arc_esy' (did you mean 'arc_easy'?)" in message


def test_what_is_wrong_in_every_profile_is_said_once(call):
    wrong = "methods=[average, {compact: {temprature: 2}}]"
    code, _, err = call("validate", GSM8K, "--set", wrong)
    assert code == 2
    assert err.count("\n") == 1 and "unknown key 'temprature' in method compact" in err
