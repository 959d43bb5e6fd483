"""Each published format on rows of the same shape, and a user's own JSONL with its mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compact_bench.data.importers import IMPORTERS
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
