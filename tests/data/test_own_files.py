"""A user's own files: every key is read or refused, nothing is lost without a note."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from compact_bench.data.own_files import own_questions, own_rows, own_source
from compact_bench.errors import UserError

PAGE = Path(__file__).parents[2] / "docs" / "own_data.md"
BLOCK = re.compile(r'^```jsonl title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
EXAMPLES = dict(BLOCK.findall(PAGE.read_text("utf-8")))
GOOD = '{"question": "Q?", "answer": "5", "rationales": {"a": "x"}}'


def written(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def asked(question: str, answer: object = 5, **rationales: Any) -> dict[str, Any]:
    return {"question": question, "answer": answer, "rationales": rationales or {"a": "is 5"}}


def test_the_rows_of_a_file(tmp_path: Path) -> None:
    row = asked("Q?", a=["x", "y"], b=None, human="z")
    rows = list(own_rows(written(tmp_path / "a.jsonl", [row])))
    assert [(r.teacher, r.text) for r in rows] == [("", ""), ("a", "x"), ("a", "y"), ("human", "z")]
    assert rows[0].gold == "5"
    assert len(list(own_rows(tmp_path / "a.jsonl", rationales=False))) == 1


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
        ('{"question": "Q", "answer": "5", "rationales": {"a": null}}', "'rationales' must be an"),
        ('{"question": "Q", "answer": "5", "rationales": {"a": 3}}', "of 'a' is not a text: 3"),
        ('{"question": "Q", "answer": "5", "rationales": {"a": ["x", ""]}}', "of 'a' is not a te"),
        ('{"question": "Q", "answer": "5", "rationale": {"a": "x"}}', "mean 'rationales'?); known"),
        ('{"question": "Q", "answer": "5", "id": 7, "rationales": {"a": "x"}}', "key 'id'"),
        ('{"question": "Q", "answer": "5", "rationales": {" ": "x"}}', "a teacher's name is 1 to"),
        ('{"question": "Q", "answer": "5", "rationales": {"a": "\\ud83d"}}', "is not a text"),
        ('{"question": "Q", "answer": "5", "rationales": {"\\ud83d": "x"}}', "teacher's name is"),
        ('{"question": "Q", "answer": "5", "\\ud83d": 1}', "unknown key"),
        ('{"question": "Q", "answer": ' + "9" * 5000 + "}", "too many digits"),
        ('{"question": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
        ('{"question": "Q", "answer": "A", "choices": ["a"]}', "is a list of 2 to 5 texts"),
        ('{"question": "Q", "answer": "A", "choices": ["a", " "]}', "'a choice' is empty"),
        ('{"question": "Q", "answer": "C", "choices": ["a", "b"]}', "neither a letter A to B"),
        ('{"question": "Q", "answer": "A", "choices": ["x (B) y", "z"]}', "can't be told apart"),
        (
            '{"question": "Q Answer choices: A: x, B: y", "answer": "A", "choices": ["a", "b"]}',
            "the question lists some as well",
        ),
    ],
)
def test_a_malformed_row_is_named_by_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(f"{GOOD}\n\n{line}\n")
    with pytest.raises(UserError) as error:
        list(own_rows(path))
    assert str(error.value).startswith(f"{path}:3: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 600


def test_values_are_quoted_in_part(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", [asked("Q?", "x" * 100_000)])
    with pytest.raises(UserError, match=r"a.jsonl:1: .*more characters") as error:
        own_source(path, [], "number", None)
    assert len(str(error.value)) < 600


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for name in ("none.jsonl", "x" * 5000 + ".jsonl", "a\0b.jsonl"):
        with pytest.raises(UserError, match="can't be read"):
            list(own_rows(tmp_path / name))
    (tmp_path / "a.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="not UTF-8"):
        list(own_rows(tmp_path / "a.jsonl"))
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + GOOD.encode())  # as Windows writes it
    assert len(list(own_rows(tmp_path / "a.jsonl"))) == 2


def test_another_format_is_refused_with_the_way_out(tmp_path: Path) -> None:
    table = pd.DataFrame({"question": ["Q?"], "answer": [5]})
    table.to_parquet(tmp_path / "a.parquet")
    table.to_csv(tmp_path / "a.csv", index=False)
    (tmp_path / "a.json").write_text(f"[{GOOD}]")
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(GOOD.encode()))
    ways = {"a.parquet": "read_parquet", "a.csv": "read_csv", "a.json": "read_json",
            "a.jsonl.gz": "gunzip"}  # fmt: skip
    for name, way in ways.items():
        with pytest.raises(UserError, match=rf"own data are JSONL.*{way}"):
            list(own_rows(tmp_path / name))


def test_choices_become_part_of_the_question(tmp_path: Path) -> None:
    rows = [{**asked("Where?", "a bank", a="is A"), "choices": ["a river", "a  bank"]}]
    rows += [{**asked("What?", "b", a="is A"), "choices": ["a", "c"]}]
    source = own_source(written(tmp_path / "a.jsonl", rows), [], None, None)
    questions = source.bank.questions
    assert list(questions["question"]) == [
        "Where?\nAnswer choices: (A) a river (B) a bank", "What?\nAnswer choices: (A) a (B) c",
    ]  # fmt: skip
    assert list(questions["answer"]) == ["B", "B"]
    assert set(questions["kind"]) == {"choice"}


def test_rows_of_one_question_are_merged_and_a_teacher_s_texts_are_its_samples(tmp_path: Path):
    rows = [asked("How many?", a="is 5"), asked("how many", a="is 6", b="5"),
            asked("How many?", a="is 5")]  # fmt: skip
    source = own_source(written(tmp_path / "a.jsonl", rows), [], None, None)
    found = source.bank.rationales[["teacher", "sample", "text"]].values.tolist()
    assert found == [["a", 0, "is 5"], ["a", 1, "is 6"], ["b", 0, "5"]]
    assert source.notes == (
        "questions: 2 rows have the question of an earlier one, merged",
        "left out: 1 row (a: repeated)",
    )


def test_two_questions_of_the_same_words_are_not_taken_for_one(tmp_path: Path) -> None:
    rows = [asked("3 + 4 = ?", 7, a="is 7"), asked("3 - 4 = ?", -1, a="is -1")]
    source = own_source(written(tmp_path / "a.jsonl", rows), [], None, None)
    assert list(source.bank.rationales["text"]) == ["is 7"]
    (note,) = source.notes
    assert note.startswith("left out: 1 row of questions with the words of an earlier")
    assert note.endswith("the first a.jsonl:2") and str(tmp_path) not in note
    _, notes = own_questions(tmp_path / "a.jsonl", "number")
    assert "of test questions" in notes[0]


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_page_s_files_are_read(tmp_path: Path, name: str) -> None:
    assert len(EXAMPLES) == 3
    path = tmp_path / name
    path.write_text(EXAMPLES[name])
    if name == "test.jsonl":
        assert list(own_questions(path, "number")[0]["answer"]) == ["11"]
        return
    bank = own_source(path, [], None, None).bank
    assert bank.teachers == ("gpt", "llama")
    right = bank.rationales.groupby("teacher")["right"].mean().to_dict()
    if name == "train.jsonl":
        assert right == {"gpt": 1.0, "llama": 0.5, "human": 1.0}
    else:
        assert list(bank.questions["answer"]) == ["A", "A"]
        assert right == {"gpt": 1.0, "llama": 0.5}
