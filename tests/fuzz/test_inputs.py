"""Whatever a user types or writes ends in success or in one line: suites, options, rows, answers.

`tox -e fuzz` draws 1,000 inputs of each kind, `COMPACT_FUZZ_EXAMPLES=100000 tox -e fuzz` more. What
it finds becomes an example of a test of the module that is at fault.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from compact_bench.commands.options import suite_of
from compact_bench.data import answers, splits
from compact_bench.execution.prepare import prepare
from compact_bench.methods import registry
from compact_bench.suite import matrix
from compact_bench.suite.schema import Suite, load_suite, profiles
from tests.fuzz.mutations import (
    ODD_TEXT,
    fuzzed,
    odd_texts,
    refused_or_done,
    spoiled_bytes,
    spoiled_texts,
    spoiled_values,
)

SUITES = {path.stem: path for path in sorted((Path(__file__).parents[2] / "suites").glob("*.yaml"))}
methods = cache(registry.load)


def read(suite: Any, *arguments: Any) -> Suite:
    """Load a suite and lay out its rows, under each of its conditions."""
    loaded = load_suite(suite, *arguments)
    for condition in loaded.conditions or [None]:
        loaded.under(condition)
    matrix.rows(loaded, methods(), ("ada", "bob"))
    for task in loaded.evaluation.tasks:
        loaded.where(("evaluation", "tasks", task.task))
    json.dumps(loaded.model_dump(mode="json"), allow_nan=False)
    return loaded


@fuzzed(60)
@given(data=st.data())
def test_suite_files(data, tmp_path):
    whole = SUITES[data.draw(st.sampled_from(sorted(SUITES)))].read_text("utf-8")
    text = data.draw(spoiled_texts(whole))
    path = tmp_path / "suite.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    refused_or_done(lambda: read(path, data.draw(st.sampled_from(["mini", "laptop", "full"]))))
    refused_or_done(lambda: profiles(path))


@fuzzed(30)
@given(data=st.data())
def test_bytes_of_a_suite_file(data, tmp_path):
    path = tmp_path / "suite.yaml"
    path.write_bytes(data.draw(spoiled_bytes(SUITES["own"].read_bytes())))
    refused_or_done(lambda: read(path))


@fuzzed(100)
@given(data=st.data())
def test_values_of_a_suite(data):
    name = data.draw(st.sampled_from(["own", "corruption", "ladder", "ablate_scores", "gsm8k"]))
    refused_or_done(lambda: read(data.draw(spoiled_values(values(name)))))


@cache
def values(name: str) -> Any:
    return yaml.safe_load(SUITES[name].read_text("utf-8"))


KEYS = (
    *("seeds", "limit", "jobs", "title", "suite", "methods", "methods.0", "compare_to", "profile"),
    *("data", "data.source", "data.test_source", "data.teachers", "data.mini.seed", "data.corrupt"),
    *(
        "data.corrupt.misread",
        "training.epochs",
        "training.learning_rate",
        "training",
        "student.id",
    ),
    *("student.lora", "student.lora.r", "student.dtype", "evaluation.tasks", "evaluation.tasks.0"),
    *("evaluation.tasks.0.task", "evaluation.tasks.0.source", "evidence", "tune", "tune.space"),
    *("ablation", "ablation.of", "ablation.changes", "conditions", "selection", "ladder", "0", "²"),
)
VALUES = (
    *ODD_TEXT,
    *("[1, 2]", "{a: 1}", "null", "true", "1e20", "-1", "0", "3", "[average, base]", "mini"),
    *("[{compact: {temperature: x}}]", "[{compact: 3}]", "{of: compact, changes: {a: {b: 1}}}"),
    *("[{name: a, data: {x: 1}}]", "{compact: {temperature: [2, 1]}}", "x.jsonl", "~nobody/x"),
)


@fuzzed(100)
@given(
    sets=st.lists(
        st.tuples(
            st.one_of(st.sampled_from(KEYS), st.text(max_size=20)),
            st.one_of(st.sampled_from(VALUES), odd_texts),
        ),
        min_size=1,
        max_size=3,
    ),
    seeds=st.one_of(st.none(), odd_texts, st.text("0123456789-, ", max_size=12)),
    limit=st.one_of(st.none(), odd_texts, st.integers().map(str)),
)
def test_options(sets, seeds, limit):
    overrides = [f"{key}={value}" for key, value in sets]
    refused_or_done(lambda: suite_of(values("own"), "mini", overrides, seeds, limit))


ROW = {
    "question": "Where does one keep money?",
    "choices": ["bank", "river", "drawer"],
    "answer": "bank",
    "rationales": {
        "ada": "A bank. The answer is A",
        "bob": ["The answer is B", "is A"],
        "human": "A",
    },
}
ROWS = [
    ROW,
    {"question": "3 + 4 = ?", "answer": 7, "rationales": {"ada": "3 + 4 = 7", "bob": None}},
    {
        "question": "Is it so?",
        "answer": True,
        "rationales": {"ada": "yes", "bob": "The answer is no"},
    },
]


def own_suite(train: Path, test: Path, kind: str | None, task: str, complete: bool) -> Suite:
    return Suite.model_validate(
        {
            **{"suite": "own", "title": "t", "profile": "p", "methods": ["average"], "seeds": [0]},
            "data": {"source": str(train), "test_source": str(test), "answer": kind,
                     "complete": complete},
            "training": {"learning_rate": 1e-3, "epochs": 1, "batch_size": 1},
            "evaluation": {"tasks": [{"task": "in_domain", "role": "reasoning", "kind": task}]},
        }
    )  # fmt: skip


@fuzzed(60)
@given(data=st.data())
def test_rows_of_a_file(data, tmp_path):
    train, test = tmp_path / "train.jsonl", tmp_path / "test.jsonl"
    rows = [data.draw(spoiled_values(data.draw(st.sampled_from(ROWS)))) for _ in range(3)]
    try:
        lines = [json.dumps(row) for row in [ROWS[0], *rows]]
    except (TypeError, ValueError, RecursionError):
        return  # no JSON
    train.write_text("\n".join(lines))
    test.write_bytes(data.draw(spoiled_bytes(json.dumps(ROWS[2]).encode())))
    refused_or_done(lambda: prepare(own_suite(train, test, None, "generate", False)))
    refused_or_done(lambda: prepare(own_suite(train, test, "choice", "choice", True)))


@fuzzed(40)
@given(data=st.data())
def test_bytes_of_a_data_file(data, tmp_path):
    train = tmp_path / "train.jsonl"
    whole = "\n".join(json.dumps(row) for row in ROWS).encode()
    train.write_bytes(data.draw(spoiled_bytes(whole)))
    refused_or_done(lambda: prepare(own_suite(train, train, "number", "generate", True)))


WORDS = st.sampled_from(
    [
        *("The answer is", "answer", "is", "=", "not", "so", " ", "\n", ".", ",", "(", ")", "A"),
        *("(b)", "E:", "yes", "No", "true", "7", "-3", "1,450", "$5", "3/4", "0/0", "1/0", ".5"),
        *("1e5", "%", "\\frac", "\\boxed{", "}", "{", "^\\circ", "Answer choices:", "2.", "Mr."),
        *("−", "٣", "½", "\u2044", "9" * 900),
    ]
)
answer_texts = st.one_of(
    st.lists(WORDS, max_size=40).map("".join),
    st.lists(WORDS, max_size=40).map(" ".join),
    st.tuples(WORDS, st.integers(1, 100)).map(lambda drawn: (drawn[0] + " ") * drawn[1]),
    st.text(max_size=200),
)


@pytest.mark.parametrize("kind", answers.KINDS)
@fuzzed(60)
@given(text=answer_texts, other=answer_texts)
def test_answers(kind, text, other):
    def every() -> None:
        value = answers.canonical(text, kind)
        if value is not None and kind != "expression":
            assert answers.canonical(value, kind) == value
        for read in (answers.extract_answer, answers.extract_flexible, answers.rationale_answer):
            found = read(text, kind)
            assert found is None or answers.same_answer(found, found, kind)
        answers.mentions(text, other, kind)
        body = answers.strip_answer_sentence(text)
        assert len(body) <= len(text)
        for start, end in answers.step_spans(text):
            assert 0 <= start < end <= len(text) and not text[start].isspace()
        splits.template(text)
        splits.unify_choices(text)
        assert splits.normalise(splits.unify_choices(text)) == splits.normalise(text)

    refused_or_done(every)
