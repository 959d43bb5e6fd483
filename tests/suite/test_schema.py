"""The suite file: profiles, overrides, and errors that name file, line and the nearest key."""

from __future__ import annotations

from pathlib import Path

import pytest

from compact_bench.errors import UserError, nearest
from compact_bench.methods.registry import BASELINES, load
from compact_bench.suite.schema import Suite, load_suite, parse_seeds, profiles
from compact_bench.suite.source import merge

ROOT = Path(__file__).parents[2] / "suites"
SUITES = sorted(ROOT.glob("*.yaml"))
WHOLE = (
    "csqa",
    "gsm8k",
    "strategyqa",
    "svamp",
)  # those of a data set; the others ask about a method
TEXT = """\
suite: demo
title: Demo
methods: [base, average]
seeds: [0]
training: {learning_rate: 1e-3, epochs: 2, batch_size: 4}
evaluation:
  tasks:
    - {task: in_domain, role: reasoning}
profiles:
  mini:
    limit: 4
  laptop:
    seeds: [1, 2]
    training:
      epochs: 3
"""


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    path = tmp_path / "demo.yaml"
    path.write_text(TEXT)
    return path


def _error(path: Path, *arguments, **keywords) -> str:
    with pytest.raises(UserError) as caught:
        load_suite(path, *arguments, **keywords)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_suites_of_a_data_set_have_the_three_profiles():
    for name in WHOLE:
        assert profiles(ROOT / f"{name}.yaml") == ["mini", "laptop", "full"]


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_shipped_suites_are_mini_first_and_generated_there_only(path):
    assert profiles(path)[0] == "mini"
    for profile in profiles(path):
        suite = load_suite(path, profile)
        assert suite.suite == path.stem
        assert suite.data.mini.problem in WHOLE or not profile.startswith("mini")
        assert (suite.data.source == "mini") == profile.startswith("mini")
        assert suite.student.lora is None or suite.student.lora.dropout == 0


def test_every_method_has_a_row_in_baselines():
    suite = load_suite(ROOT / "baselines.yaml", "mini")
    listed = {row.method for row in suite.rows()}
    # One reads a suite's other row again, the other scores and trains nothing.
    ours = {n for n, m in load().methods.items() if m.__module__.startswith(BASELINES)}
    assert ours - listed == {"replay", "compact_scores"}
    assert suite.selection and not set(suite.selection.seeds) & set(suite.seeds)
    assert load_suite(ROOT / "baselines.yaml", "mini_flops").training.budget == "flops"


def test_full_profile_is_the_authors_recipe():
    for name in WHOLE:
        training = load_suite(ROOT / f"{name}.yaml", "full").training
        assert (training.learning_rate, training.clip, training.epochs) == (1e-5, 1.0, 5)
        assert (training.batch_size, training.accumulate, training.max_tokens) == (1, 4, 2560)


def test_profile_is_merged_over_shared_keys(demo):
    assert load_suite(demo).profile == "mini"
    laptop = load_suite(demo, "laptop")
    assert laptop.seeds == [1, 2]  # a list replaces
    assert (laptop.training.epochs, laptop.training.batch_size) == (3, 4)  # a mapping merges
    assert laptop.limit is None


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
        ("seeds=[1, 1]", "holds a seed twice"),
        ("suite=../elsewhere", "suite: string should match pattern"),
    ],
)
def test_wrong_override_is_named(demo, override, expected):
    message = _error(demo, "mini", [override])
    assert expected in message


@pytest.mark.parametrize("limit", ["0", "-3", "many", 1.5])
def test_wrong_limit_names_the_option(demo, limit):
    assert _error(demo, options={"limit": limit}).startswith(f"--limit {limit}: limit: ")


def test_option_is_applied_last(demo):
    suite = load_suite(demo, "mini", ["limit=3"], {"limit": "9", "seeds": None})
    assert suite.limit == 9
    assert suite.seeds == [0]


def test_unknown_key_has_file_line_and_nearest_name(demo):
    demo.write_text(TEXT.replace("      epochs: 3", "      epochs: 3\n      lerning_rate: 1"))
    expected = f"{demo}:16: unknown key 'lerning_rate' in training (did you mean 'learning_rate'?)"
    assert _error(demo, "laptop") == expected


def test_unknown_key_in_a_list_has_its_line(demo):
    demo.write_text(TEXT.replace("{task: in_domain, role", "{tasc: in_domain, role"))
    expected = f"{demo}:8: unknown key 'tasc' in evaluation.tasks.0 (did you mean 'task'?)"
    assert _error(demo) == expected


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
    assert expected in _error(demo)


def test_unknown_profile_lists_the_known(demo):
    message = _error(demo, "labtop")
    assert message == f"{demo}: no profile 'labtop' (did you mean 'laptop'?); it has: mini, laptop"


def test_missing_file(tmp_path):
    assert "can't read the suite file" in _error(tmp_path / "none.yaml")


def test_resolved_suite_survives_json(demo):
    suite = load_suite(demo, "laptop")
    again = Suite.model_validate(suite.model_dump(mode="json"))
    assert again.model_dump() == suite.model_dump()


def test_jsonl_may_lie_beside_the_suite_file(demo, tmp_path):
    (tmp_path / "mine.jsonl").write_text("")
    suite = load_suite(demo, "mini", ["data.source=mine.jsonl", "data.test_source=none.jsonl"])
    assert suite.data.source == str(tmp_path / "mine.jsonl")
    assert suite.data.test_source == "none.jsonl"


def test_seeds():
    assert parse_seeds("3") == [3]
    assert parse_seeds("0-2, 7") == [0, 1, 2, 7]
    for wrong in ("", "a", "1-", "-1", "1,,2"):
        with pytest.raises(UserError, match="--seeds"):
            parse_seeds(wrong)


def test_nearest():
    assert nearest("avrage", ["average", "base"]) == " (did you mean 'average'?)"
    assert nearest("xyz", ["average"]) == ""


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("training.clip=.inf", "training.clip"),
        ("evaluation.tasks=[{task: a/b, role: reasoning}]", "task"),
        (
            "evaluation.tasks=[{task: a, role: reasoning}, {task: a, role: forgetting}]",
            "names a task twice",
        ),
    ],
)
def test_values_that_would_fail_every_cell_are_refused(demo, override, expected):
    with pytest.raises(UserError, match=expected) as error:
        load_suite(demo, "mini", [override])
    assert "\n" not in str(error.value)


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


CONDITIONS = [
    {"name": "few", "data": {"train": 3}, "series": "size", "x": 3},
    {"name": "few, other world", "data": {"train": 3, "mini": {"seed": 5}}},
]


def test_a_condition_is_merged_over_the_data(write_suite):
    suite = load_suite(write_suite(conditions=CONDITIONS), "mini")
    few, other = (suite.under(one) for one in suite.conditions)
    assert (few.data.train, few.data.mini.seed) == (3, 0)
    assert (other.data.train, other.data.mini.seed) == (3, 5)
    assert few.data.source == suite.data.source
    assert suite.under(None) is suite


def test_a_wrong_key_in_a_condition_names_its_place(write_suite):
    suite = load_suite(write_suite(conditions=[{"name": "a", "data": {"trian": 3}}]), "mini")
    with pytest.raises(UserError, match=r"tiny\.yaml:\d+: unknown key 'trian'.*train"):
        suite.under(suite.conditions[0])


def test_two_conditions_of_one_name_are_refused(write_suite):
    with pytest.raises(UserError, match="conditions names one twice: few, few"):
        load_suite(write_suite(conditions=[CONDITIONS[0], CONDITIONS[0]]), "mini")


def test_later_keys_at_their_defaults_are_not_written(write_suite):
    suite = load_suite(write_suite(), "mini")
    written = suite.model_dump(mode="json")
    assert not {"ablation", "conditions", "ladder"} & set(written)
    assert not {"corrupt"} & set(written["data"]) and "faults" not in written["data"]["mini"]
    other = load_suite(write_suite(conditions=CONDITIONS), "mini", ["data.mini.faults=0"])
    assert other.model_dump(mode="json")["data"]["mini"]["faults"] == 0
    again = Suite.model_validate(other.model_dump(mode="json"))
    assert again.model_dump() == other.model_dump()
