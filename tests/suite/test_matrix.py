"""The matrix: rows, seeds, labels, and what a run id depends on."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from compact_bench.errors import UserError
from compact_bench.methods import registry
from compact_bench.suite.matrix import Data, RunSpec, cells
from compact_bench.suite.schema import load_suite


@pytest.fixture
def lay_out(write_suite, plugins):
    """Lay out the cells of the tiny suite with some top keys replaced."""

    def build(overrides=(), threads=2, **keys) -> tuple[RunSpec, ...]:
        suite = load_suite(write_suite(**keys), "mini", overrides)
        data = [Data(suite.data.model_dump(mode="json"), "data", ("ada", "bob"))]
        return cells(suite, registry.load([plugins]), data, "student", threads)

    return build


def test_rows_then_seeds_and_one_cell_where_nothing_is_random(lay_out):
    assert [(c.label, c.seed) for c in lay_out()] == [("still", None), ("dummy", 0), ("dummy", 1)]


def test_run_ids_differ_and_are_stable(lay_out):
    ids = [spec.run_id for spec in lay_out()]
    assert len(set(ids)) == 3
    assert all(len(i) == 12 and set(i) <= set("0123456789abcdef") for i in ids)
    assert ids == [spec.run_id for spec in lay_out()]


CHANGES: dict[str, Any] = {
    "suite": "other",
    "profile": "other",
    "label": "other",
    "method": "other",
    "version": 2,
    "config": {"behave": "other"},
    "seed": 7,
    "student": {"id": "other"},
    "student_hash": "other",
    "data": {"source": "other"},
    "data_hash": "other",
    "training": {"epochs": 2},
    "evaluation": {"tasks": []},
    "limit": 3,
    "threads": 1,
    "engine_version": 3,
    "evidence": {"items": 3},
}


@pytest.mark.parametrize(
    "name", [item.name for item in dataclasses.fields(RunSpec) if item.name != "condition"]
)
def test_every_field_is_part_of_the_run_id(lay_out, name):
    spec = lay_out()[1]
    assert dataclasses.replace(spec, **{name: CHANGES[name]}).run_id != spec.run_id


def test_a_condition_s_name_is_no_part_of_the_run_id_but_its_data_are(lay_out):
    spec = lay_out()[1]
    assert dataclasses.replace(spec, condition="other name").run_id == spec.run_id


def test_a_local_file_counts_by_content_not_by_folder(lay_out):
    spec = lay_out()[1]

    def at(student: str, source: str) -> str:
        data = spec.data | {"source": source}
        return dataclasses.replace(spec, student={"id": student}, data=data).run_id

    assert at("/a/student.gguf", "/a/x.jsonl") == at("../b/student.gguf", "x.jsonl")
    assert at("owner/name", "x.jsonl") != at("other/name", "x.jsonl")
    for name in ("x.parquet", "x.csv", "x.tsv", "x.arrow"):
        assert at("nano", f"/a/{name}") == at("nano", f"b/{name}") != at("nano", "/a/x.jsonl")


def test_a_data_set_of_the_hub_counts_by_its_rows_not_by_its_commit(lay_out):
    spec = lay_out()[1]

    def at(source: str, **more: object) -> str:
        return dataclasses.replace(spec, data=spec.data | {"source": source, **more}).run_id

    first, second = "0" * 40, "1" * 40
    assert at(f"me/two@{first}") == at(f"me/two@{second}") == at("me/two") != at("me/one")
    hub = "hf://datasets/me/two"
    assert at(f"{hub}@{first}/a.csv") == at(f"{hub}/a.csv") != at(f"{hub}/b.csv")
    assert at("x.csv", more=["/a/y.jsonl"]) == at("x.csv", more=["b/y.jsonl"]) != at("x.csv")


def test_spec_survives_json(lay_out):
    spec = lay_out()[1]
    again = RunSpec.from_json(spec.to_json() | {"run_id": "more keys are ignored"})
    assert again == spec
    assert again.run_id == spec.run_id


def test_ids_that_are_made_together_are_those_of_each_cell_alone(lay_out):
    rows = [{"dummy": {"weights_from": "dummy"}, "label": "reads"}, "still", "dummy"]
    cells = lay_out(methods=rows, seeds=[0, 1])
    assert cells[0].after == cells[-2].run_id
    assert [RunSpec.from_json(spec.to_json()).run_id for spec in cells] == [
        spec.run_id for spec in cells
    ]


def test_a_method_listed_with_several_settings_says_so_in_its_labels(lay_out):
    found = lay_out(methods=["still", "dummy", {"dummy": {"behave": "raise"}}], seeds=[0])
    assert [c.label for c in found[1:]] == ["dummy(behave=done)", "dummy(behave=raise)"]


def test_variants_become_rows(lay_out):
    found = lay_out(methods=["still", "single_teacher"], seeds=[0])
    assert [c.label for c in found[1:]] == ["single_teacher[ada]", "single_teacher[bob]"]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"methods": ["still", "dumy"]}, r"tiny\.yaml:\d+: unknown method 'dumy' \(did you mean"),
        ({"methods": ["still", "still"]}, r"tiny\.yaml:\d+: the row 'still' is listed twice"),
        ({"compare_to": "stil"}, r"tiny\.yaml:\d+: compare_to names no row: 'stil' \(did you"),
        (
            {"methods": ["still", {"dummy": {"behav": "x"}}]},
            r"tiny\.yaml:\d+: unknown key 'behav' in method dummy \(did you mean 'behave'\?\)",
        ),
        (
            {"methods": ["still", {"dummy": {"behave": 3}}]},
            r"tiny\.yaml:\d+: behave: input should be a valid string, got 3",
        ),
    ],
)
def test_wrong_rows_are_named_with_their_line(lay_out, keys, expected):
    with pytest.raises(UserError, match=expected):
        lay_out(**keys)


CHANGED = {"of": {"dummy": {"behave": "a"}}, "changes": {"other way": {"behave": "b"}}}


def test_an_ablation_is_its_row_and_a_row_for_each_change(lay_out):
    found = [c for c in lay_out(methods=["still"], seeds=[0], ablation=CHANGED) if c.seed == 0]
    assert [(c.label, c.config["behave"]) for c in found] == [("dummy", "a"), ("other way", "b")]


def test_a_row_may_have_a_label_of_its_own(lay_out):
    row = {"dummy": {"behave": "a"}, "label": "my name"}
    assert [c.label for c in lay_out(methods=["still", row], seeds=[0])] == ["still", "my name"]


def test_a_wrong_setting_in_a_change_names_its_place(lay_out):
    wrong = {"of": "dummy", "changes": {"one": {"behav": "b"}}}
    with pytest.raises(UserError, match=r"tiny\.yaml:\d+: unknown key 'behav'.*behave"):
        lay_out(methods=["still"], ablation=wrong)


@pytest.mark.parametrize("key", ["ladder", "regret_to", "without_faults"])
def test_a_ladder_of_unknown_rows_is_refused(lay_out, key):
    value = ["still", "dumy"] if key == "ladder" else "dumy"
    with pytest.raises(UserError, match=f"{key} names no row: 'dumy'.*dummy"):
        lay_out(**{key: value})


def test_weights_from_names_a_row_and_becomes_its_run_id(lay_out):
    rows = [
        {"dummy": {"weights_from": "source"}, "label": "copy"},
        {"dummy": {}, "label": "source"},
    ]
    by_name = {(c.label, c.seed): c for c in lay_out(methods=["still", *rows])}
    for seed in (0, 1):
        assert by_name["copy", seed].after == by_name["source", seed].run_id
    changed = [{**rows[0]}, {"dummy": {"behave": "x"}, "label": "source"}]
    other = {(c.label, c.seed): c for c in lay_out(methods=["still", *changed])}
    assert other["copy", 0].run_id != by_name["copy", 0].run_id


def test_weights_from_may_be_a_run_id_but_no_unknown_row(lay_out):
    row = {"dummy": {"weights_from": "0123456789ab"}}
    assert lay_out(methods=["still", row])[1].after == "0123456789ab"
    with pytest.raises(UserError, match=r"weights_from: 'stil' is neither a row.*still"):
        lay_out(methods=["still", {"dummy": {"weights_from": "stil"}}])


def test_weights_from_in_a_circle_is_refused(lay_out):
    rows = [
        {"dummy": {"weights_from": "b"}, "label": "a"},
        {"dummy": {"weights_from": "a"}, "label": "b"},
    ]
    with pytest.raises(UserError, match="circle"):
        lay_out(methods=["still", *rows])


def test_each_row_that_reads_data_has_a_cell_for_each_condition(write_suite, plugins):
    suite = load_suite(write_suite(seeds=[0]), "mini")
    data = [Data({"train": n}, f"data {n}", ("ada",), f"{n} questions") for n in (1, 2)]
    found = cells(suite, registry.load([plugins]), data, "student", 1)
    assert [(c.label, c.condition, c.data_hash) for c in found] == [
        ("still", "", "data 1"),
        ("dummy", "1 questions", "data 1"),
        ("dummy", "2 questions", "data 2"),
    ]
    assert found[1].name == "dummy, 1 questions, seed 0"


def test_a_condition_may_be_for_some_rows_only(write_suite, plugins):
    rows = ["still", {"dummy": {"behave": "a"}, "label": "a"}, {"dummy": {}, "label": "b"}]
    suite = load_suite(write_suite(methods=rows, seeds=[0]), "mini")

    def lay_out(names):
        data = [Data({}, "x", ("ada",), "x"), Data({}, "y", ("ada",), "y", names)]
        return cells(suite, registry.load([plugins]), data, "student", 1)

    assert [(c.label, c.condition) for c in lay_out(["b"])] == [
        ("still", ""), ("a", "x"), ("b", "x"), ("b", "y"),
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"condition 'y' names no row: 'c'"):
        lay_out(["c"])


def test_a_row_of_the_ablation_that_is_listed_too_is_named_as_such(lay_out):
    ablation = {"of": "dummy", "changes": {"other": {"behave": "skipped"}}}
    with pytest.raises(UserError, match=r"yaml:\d+: the row 'dummy' is one that ablation"):
        lay_out(methods=["still", "dummy"], ablation=ablation)
    assert "dummy" in {cell.label for cell in lay_out(methods=["still"], ablation=ablation)}
