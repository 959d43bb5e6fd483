"""The matrix: rows, seeds, labels, and what a run id depends on."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from compact_bench import registry
from compact_bench.errors import UserError
from compact_bench.matrix import Data, RunSpec, cells
from compact_bench.suite import load_suite


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
    "engine_version": 2,
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


def test_spec_survives_json(lay_out):
    spec = lay_out()[1]
    again = RunSpec.from_json(spec.to_json() | {"run_id": "more keys are ignored"})
    assert again == spec
    assert again.run_id == spec.run_id


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
            r"tiny\.yaml:\d+: unknown key 'behav' .*\(did you mean 'behave'\?\)",
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
