"""Each published format on rows of the same shape, and a user's own JSONL with its mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compact_bench.data.importers import IMPORTERS, user_jsonl
from compact_bench.errors import UserError


def written(path: Path, rows: Any) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    else:
        path.write_text(json.dumps(rows))
    return path


def test_instruction_output_drops_leftover_markup(tmp_path: Path) -> None:
    rows = [{"instruction": "How many? ", "output": "<Solution Path> Add. The answer is 5"}]
    (row,) = IMPORTERS["instruction_output"](written(tmp_path / "a.json", rows))
    assert (row.question, row.text, row.gold) == ("How many?", "Add. The answer is 5", "")


def test_answers_and_labels(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", [{"instruction": "Is it?", "output": "x", "label": "True"}])
    assert [row.gold for row in IMPORTERS["instruction_answer"](path)] == ["x"]
    assert [row.gold for row in IMPORTERS["instruction_label"](path)] == ["True"]


def test_svamp_joins_body_and_question(tmp_path: Path) -> None:
    rows = [{"Body": "Ann has 5 apples ", "Question": "How many?", "Answer": 5.0}]
    (row,) = IMPORTERS["svamp"](written(tmp_path / "a.json", rows))
    assert (row.question, row.gold) == ("Ann has 5 apples How many?", "5.0")


def test_grade_school_math_removes_calculator_marks(tmp_path: Path) -> None:
    rows = [{"question": "Q", "answer": "She sold 48/2 = <<48/2=24>>24.\n#### 1,024"}]
    (row,) = IMPORTERS["grade_school_math"](written(tmp_path / "a.jsonl", rows))
    assert (row.text, row.gold) == ("She sold 48/2 = 24.\nThe answer is 1,024", "1,024")
    bad = written(tmp_path / "b.jsonl", [{"question": "Q", "answer": "24"}])
    with pytest.raises(UserError, match=r"b.jsonl:1: 'answer' has no '####'"):
        list(IMPORTERS["grade_school_math"](bad))


def test_math_reads_nested_braces_and_mends_escapes(tmp_path: Path) -> None:
    row = {
        "problem": "P",
        "solution": r"It is $\boxed{\frac{1}{2}}$.",
        "output": r"\frac{1}",
        "gemini_output": "The answer is 1/2",
        "llama_output": "Step 1: halve.\\nThe answer is \x0crac{1}{2}",
    }
    path = written(tmp_path / "a.json", [row])
    (human,), (gemini,), (llama,) = (
        list(IMPORTERS[f"math_{who}"](path)) for who in ("human", "gemini", "llama")
    )
    assert {human.gold, gemini.gold, llama.gold} == {r"\frac{1}{2}"}
    assert llama.text == "Step 1: halve.\nThe answer is \\frac{1}{2}"


def test_mentor_kd_counts_samples_and_trusts_right_rows_alone(tmp_path: Path) -> None:
    right = {"input": "Q\n", "chain": "c", "answer": "32", "initial_correct": True}
    wrong = right | {"completion": "25.0", "initial_correct": False}
    rows = list(IMPORTERS["mentor_kd"](written(tmp_path / "a.json", [right, wrong, right])))
    assert [row.sample for row in rows] == [0, 1, 2]
    assert [(row.completion, row.known) for row in rows] == [("", "32"), ("25.0", ""), ("", "32")]


def test_user_jsonl(tmp_path: Path) -> None:
    row = {"question": "Q?", "answer": 5, "rationales": {"a": ["x", "y"], "human": "z"}}
    rows = list(user_jsonl(written(tmp_path / "a.jsonl", [row])))
    assert [(r.teacher, r.sample, r.text) for r in rows] == [
        ("", 0, ""),
        ("a", 0, "x"),
        ("a", 1, "y"),
        ("human", 0, "z"),
    ]
    assert rows[0].gold == "5"


GOOD = '{"question": "Q?", "answer": "5", "rationales": {"a": "x"}}'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"question": ', "not JSON"),
        ("[1]", "list instead of an object"),
        ('{"answer": "5", "rationales": {"a": "x"}}', "no 'question'; the row has 'answer', 'rat"),
        ('{"question": " ", "answer": "5", "rationales": {"a": "x"}}', "'question' is empty"),
        ('{"question": ["Q"], "answer": "5", "rationales": {}}', "'question' is list instead"),
        ('{"question": "Q", "rationales": {"a": "x"}}', "no 'answer'"),
        ('{"question": "Q", "answer": "5"}', "'rationales' must be an object"),
        ('{"question": "Q", "answer": "5", "rationales": "x"}', "'rationales' must be an object"),
        ('{"question": "Q", "answer": "5", "rationales": {"a": 3}}', "of 'a' is not a text: 3"),
        ('{"question": "Q", "answer": "5", "rationales": {"a": ["x", ""]}}', "of 'a' is not a te"),
    ],
)
def test_a_malformed_row_is_named_by_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(f"{GOOD}\n\n{line}\n")
    with pytest.raises(UserError) as error:
        list(user_jsonl(path))
    assert str(error.value).startswith(f"{path}:3: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="can't be read"):
        list(user_jsonl(tmp_path / "none.jsonl"))
    (tmp_path / "a.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="not UTF-8"):
        list(user_jsonl(tmp_path / "a.jsonl"))
