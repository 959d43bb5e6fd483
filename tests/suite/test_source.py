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
    assert refusal(demo, "laptop").startswith(f"{expected}; known: learning_rate, epochs, ")


def test_unknown_key_in_a_list_has_its_line(demo):
    demo.write_text(TEXT.replace("{task: in_domain, role", "{tasc: in_domain, role"))
    expected = f"{demo}:8: unknown key 'tasc' in evaluation.tasks.0 (did you mean 'task'?)"
    assert refusal(demo) == f"{expected}; known: task, role, limit, source, kind, chance"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [1", ":1: not valid YAML"),
        ("[1, 2]", "holds a mapping"),
        ("", "the file is empty"),
        ("# a comment\n", "the file is empty"),
        ("a: " + "[" * 3000, ": not valid YAML: nested too deeply"),
        (TEXT + "notes: &x [*x]\n", "nested in more than 30 others"),
        (TEXT + "notes: " + "[" * 35 + "]" * 35, ":16: notes.0.0"),
        (TEXT + "notes: 2001-01-01\n", ":16: notes: a date is no value of a suite: write it in"),
        (TEXT + "notes: 2001-99-99\n", ": not valid YAML: a value that can't be read"),
        (TEXT + "limit: 0b_\n", ": not valid YAML: a value that can't be read"),
        (TEXT + "limit: " + "9" * 5000, ": not valid YAML: a value that can't be read"),
        (TEXT + "limit: 0x" + "f" * 5000, ":16: limit: an integer beyond"),
        (TEXT + "notes: .nan\n", ":16: notes: nan is not a finite number"),
        (TEXT + "notes: {1: a}\n", ":16: notes: the key 1 is not a text: write it in quotes"),
        (TEXT + 'notes: "\\ud800"\n', ":16: notes: '\\ud800' holds a character that no text has"),
        (TEXT + f"notes: {'x' * 20_000}\n", ":16: notes: a text of 20,000 characters"),
        (TEXT + "# " + "x" * 50_000, "are no suite file"),
        (TEXT + f"{'x' * 900}: 1\n", "(702 more characters) in the suite; known: suite"),
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


def test_an_alias_bomb_is_refused_at_once(demo):
    """Ten lines of ten aliases each: a walk over all of it would take years."""
    bomb = "x0: &x0 [1, 2]\n" + "".join(
        f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 10)}]\n" for n in range(1, 12)
    )
    demo.write_text(TEXT + bomb)
    assert "more than 100,000 values" in refusal(demo)


def test_an_alias_may_be_written(demo):
    text = TEXT.replace("seeds: [0]", "seeds: &s [4]").replace("seeds: [1, 2]", "seeds: *s")
    demo.write_text(text)
    assert load_suite(demo, "laptop").seeds == [4]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("limit=²", "--set limit=²: limit: "),
        ("evaluation.tasks.².limit=1", "there is no evaluation.tasks.² to set"),
        ("seeds=[2001-99-99]", "--set seeds=[2001-99-99]: the value is not valid YAML"),
        ("notes=" + "[" * 3000, "the value is not valid YAML: nested too deeply"),
        ("notes=0b_", "the value is not valid YAML"),
        ("notes=" + "9" * 5000, "the value is not valid YAML"),
        ("notes=" + "1, " * 20_000, "the value is not valid YAML: 60,000 characters"),
        ("notes=&x [*x]", "nested in more than 30 others"),
        (".".join("a" * 50) + "=1", "write it as KEY=VALUE"),
        ("0=1", "--set 0=1: unknown key '0' in the suite; known: "),
        ("seeds=[100000000000000000000]", "--set seeds=[100000000000000000000]: seeds.0: an int"),
        ("seeds=[-1]", "--set seeds=[-1]: seeds.0: input should be greater than or equal to 0"),
        ("training.epochs=1e12", "--set training.epochs=1e12: training.epochs: "),
        ("data.source=" + "x" * 5000, "data.source: string should have at most 1000 characters"),
        ("data.source=~nosuchuser/a.jsonl", "there is no such user's folder"),
        ("methods=[{base: 3}]", "written '- NAME: {setting: value}'"),
        ("ablation={of: {label: x}, changes: {a: {b: 1}}}", "written '- NAME: {setting: value}'"),
    ],
)
def test_odd_overrides_are_one_line_that_names_the_option(demo, override, expected):
    message = refusal(demo, "mini", [override])
    assert expected in message
    assert len(message) < 1200


def test_what_an_option_has_set_is_not_blamed_on_the_file(demo):
    suite = load_suite(demo, "mini", ["methods=[avrage]"])
    assert suite.where(("methods", 0, "avrage")) == "--set methods=[avrage]"
    assert suite.where(("training", "epochs")) == f"{demo}:5"
    assert refusal(demo, "mini", ["seeds=[1, 1]"]).startswith(f"{demo} with --set seeds=[1, 1]: ")


def test_a_home_s_file(demo, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    suite = load_suite(demo, "mini", ["data.source=~/mine.jsonl"])
    assert suite.data.source == str(tmp_path / "mine.jsonl")
