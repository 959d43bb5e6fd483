"""The suite file as a model: profiles, options, conditions, and the suites that are shipped."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from compact_bench.errors import UserError
from compact_bench.methods.registry import BASELINES, load
from compact_bench.suite import matrix
from compact_bench.suite.schema import Suite, load_suite, parse_seeds, profiles
from tests.suite.conftest import refusal

ROOT = Path(__file__).parents[2] / "suites"
SUITES = sorted(ROOT.glob("*.yaml"))
WHOLE = (
    "csqa",
    "gsm8k",
    "strategyqa",
    "svamp",
)  # those of a data set; the others ask about a method


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
    # One reads a suite's other row again, one scores and trains nothing.
    ours = {n for n, m in load().methods.items() if m.__module__.startswith(BASELINES)}
    assert ours - listed == {"replay", "compact_scores"}
    assert suite.selection and not set(suite.selection.seeds) & set(suite.seeds)
    assert load_suite(ROOT / "baselines.yaml", "mini_flops").training.budget == "flops"


def test_the_page_s_suite_is_one(tmp_path):
    page = (ROOT.parent / "docs" / "suites.md").read_text("utf-8")
    (text,) = re.findall(r'^```yaml title="mine.yaml"\n(.*?)^```$', page, re.MULTILINE | re.DOTALL)
    (tmp_path / "mine.yaml").write_text(text)
    suite = load_suite(tmp_path / "mine.yaml")
    assert [row.label for row in matrix.rows(suite, load(), ("gpt", "llama"))] == [
        "base", "average", "compact", "gold_filter",
    ]  # fmt: skip


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


@pytest.mark.parametrize("limit", ["0", "-3", "many", 1.5])
def test_wrong_limit_names_the_option(demo, limit):
    assert refusal(demo, options={"limit": limit}).startswith(f"--limit {limit}: limit: ")


def test_option_is_applied_last(demo):
    suite = load_suite(demo, "mini", ["limit=3"], {"limit": "9", "seeds": None})
    assert suite.limit == 9
    assert suite.seeds == [0]


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
    odd = ("²", "3-1", "0-99999999999", "0-9999,10000", "9" * 5000)
    for wrong in ("", "a", "1-", "-1", "1,,2", *odd):
        with pytest.raises(UserError, match="--seeds") as error:
            parse_seeds(wrong)
        assert len(str(error.value)) < 400
    with pytest.raises(UserError, match="3-1 counts down; write 1-3"):
        parse_seeds("0,3-1")
    with pytest.raises(UserError, match="--seeds '': write"):
        parse_seeds("")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("training.clip=.inf", "training.clip"),
        ("evaluation.tasks=[{task: a/b, role: reasoning}]", "task"),
        (
            "evaluation.tasks=[{task: a, role: reasoning}, {task: a, role: forgetting}]",
            "evaluation.tasks holds a value twice: a, a",
        ),
    ],
)
def test_values_that_would_fail_every_cell_are_refused(demo, override, expected):
    with pytest.raises(UserError, match=expected) as error:
        load_suite(demo, "mini", [override])
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
    with pytest.raises(UserError, match="conditions holds a value twice: few, few"):
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
