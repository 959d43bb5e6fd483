"""The text of a suite file: profiles merged, overrides, errors with line and nearest key."""

from __future__ import annotations

import pytest

from compact_bench.errors import UserError
from compact_bench.suite.schema import load_suite, profiles
from compact_bench.suite.source import merge
from tests.suite.conftest import TEXT, refusal


def test_merge_leaves_its_arguments_alone():
    base, over = {"a": {"x": 1}}, {"a": {"y": 2}}
    assert merge(base, over) == {"a": {"x": 1, "y": 2}}
    assert (base, over) == ({"a": {"x": 1}}, {"a": {"y": 2}})


def test_set_reads_yaml_and_scientific_numbers(demo):
    values = ["training.learning_rate=1e-4", "student.lora.r=8", "evaluation.tasks.0.limit=7"]
    suite = load_suite(demo, "mini", [*values, "data.teachers=[a, b]"])
    assert suite.training.learning_rate == 1e-4
    assert suite.student.lora is not None
    assert suite.student.lora.r == 8
    assert suite.evaluation.tasks[0].limit == 7
    assert suite.data.teachers == ["a", "b"]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("training.lr", "--set training.lr: write it as KEY=VALUE"),
        ("training.epoch=2", "unknown key 'epoch' in training (did you mean 'epochs'?)"),
        ("training.epochs=many", "training.epochs: input should be a valid integer"),
        ("evaluation.tasks.4.limit=1", "there is no evaluation.tasks.4 to set"),
        ("title.x=1", "title is a single value"),
        ("seeds=[1, 1]", "seeds holds a value twice: 1, 1"),
        ("suite=../elsewhere", "suite: string should match pattern"),
    ],
)
def test_wrong_override_is_named(demo, override, expected):
    message = refusal(demo, "mini", [override])
    assert expected in message


def test_unknown_key_has_file_line_and_nearest_name(demo):
    demo.write_text(TEXT.replace("      epochs: 3", "      epochs: 3\n      lerning_rate: 1"))
    expected = f"{demo}:16: unknown key 'lerning_rate' in training (did you mean 'learning_rate'?)"
    assert refusal(demo, "laptop") == expected


def test_unknown_key_in_a_list_has_its_line(demo):
    demo.write_text(TEXT.replace("{task: in_domain, role", "{tasc: in_domain, role"))
    expected = f"{demo}:8: unknown key 'tasc' in evaluation.tasks.0 (did you mean 'task'?)"
    assert refusal(demo) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [1", ":1: not valid YAML"),
        ("[1, 2]", "holds a mapping"),
        ("", "holds a mapping"),
        (TEXT + "seeds: [1]\n", ":16: key 'seeds' is already set on line 4"),
        (TEXT.replace("title: Demo\n", ""), "key 'title' is missing"),
        (TEXT.replace("[base, average]", "[{a: {}, b: {}}]"), "written '- NAME: {setting: value}'"),
        (TEXT.replace("[base, average]", "[7]"), ":3: methods.0: "),
        (TEXT.replace("role: reasoning", "role: thinking"), ":8: evaluation.tasks.0.role: "),
    ],
)
def test_wrong_file_is_one_line(demo, text, expected):
    demo.write_text(text)
    assert expected in refusal(demo)


def test_unknown_profile_lists_the_known(demo):
    message = refusal(demo, "labtop")
    assert message == f"{demo}: no profile 'labtop' (did you mean 'laptop'?); it has: mini, laptop"


def test_missing_file(tmp_path):
    assert "can't read the suite file" in refusal(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("suite: a\nprofiles: 3\n", "profiles is a mapping"), ("seeds: [2001-99-99]\n", "not valid")],
)
def test_odd_yaml_is_one_line(tmp_path, text, expected):
    path = tmp_path / "odd.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=expected) as error:
        profiles(path)
    assert "\n" not in str(error.value)
