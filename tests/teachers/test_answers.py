"""The file of answers: what is kept, what is rejected, and what a kill leaves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from compact_bench.data.own_files import own_source
from compact_bench.errors import UserError
from compact_bench.suite.sections import DataSpec
from compact_bench.teachers.answers import (
    AnswerFile,
    Request,
    Settings,
    TeacherAnswer,
    rejection,
    requests,
)

SETTINGS = Settings("gpt", "gpt-4o")
QUESTION = Request("3 + 4?", "7", "number", 0)


@pytest.mark.parametrize(
    ("text", "finish", "reason", "right"),
    [
        ("3 + 4 = 7. The answer is 7", "stop", "", ""),
        ("The answer is 8", "stop", "", "wrong answer"),
        ("Je ne sais pas.", "stop", "", "no answer"),
        ("The answer is", "length", "not written to its end (length)", None),
        ("", "content_filter", "not written to its end (content_filter)", None),
        (" \n", "stop", "empty", None),
        ("<think>7</think> ", "stop", "empty", None),
        ("<think>The answer is 7", "stop", "empty", None),
        ("<think>8?</think>The answer is 7", "stop", "", ""),
        ("<think>The answer is 7</think>The answer is 8", "stop", "", "wrong answer"),
    ],
)
def test_what_is_no_rationale(text: str, finish: str, reason: str, right: str | None) -> None:
    answer = TeacherAnswer(text, finish)
    assert rejection(QUESTION, answer, "all") == reason
    assert rejection(QUESTION, answer, "right") == (reason if right is None else right)


def test_requests_ask_every_question_before_any_twice() -> None:
    table = pd.DataFrame({"question": ["a", "b"], "answer": ["1", "2"], "kind": "number"})
    wanted = requests(table, 2)
    assert [(r.question, r.sample) for r in wanted] == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert "a number without a unit" in wanted[0].text(SETTINGS)
    with pytest.raises(UserError, match="of the kinds number, boolean, choice, not expression"):
        requests(table.assign(kind="expression"), 1)


def test_a_file_remembers_what_it_holds_and_is_read_as_data(tmp_path: Path) -> None:
    path, wanted = tmp_path / "gpt.jsonl", [replace(QUESTION, sample=n) for n in range(4)]
    file = AnswerFile(path, SETTINGS)
    file.add(wanted[0], TeacherAnswer("so The answer is 7", "stop", 10, 5))
    file.add(wanted[1], TeacherAnswer("\ud83d The answer is", "length", 10, None))
    file.add(wanted[2], TeacherAnswer("or The answer is 8"))
    again = AnswerFile(path, SETTINGS)
    assert [*again.missing(wanted)] == [wanted[3]]
    assert again.counts == file.counts
    assert again.counts == {"": 2, "not written to its end (length)": 1, "prompt_tokens": 20,
                            "completion_tokens": 5}  # fmt: skip
    bank = own_source(DataSpec(source=str(path))).bank
    assert bank.rationales[["teacher", "sample", "right"]].values.tolist() == [
        ["gpt", 0, True], ["gpt", 1, False],
    ]  # fmt: skip


@pytest.mark.parametrize("left", ["", "{", '{"question": "3 + 4?", "gen', "\ufeffx"])
def test_what_a_kill_left_of_a_line_is_cut(tmp_path: Path, left: str) -> None:
    path = tmp_path / "gpt.jsonl"
    AnswerFile(path, SETTINGS).add(QUESTION, TeacherAnswer("The answer is 7"))
    whole = path.read_bytes()
    path.write_bytes(whole + left.encode())
    file = AnswerFile(path, SETTINGS)
    assert path.read_bytes() == whole and len(file.done) == 1
    file.add(replace(QUESTION, sample=1), TeacherAnswer("The answer is 7"))
    assert len(AnswerFile(path, SETTINGS).done) == 2


def test_answers_of_other_settings_are_not_mixed(tmp_path: Path) -> None:
    path = tmp_path / "gpt.jsonl"
    AnswerFile(path, SETTINGS).add(QUESTION, TeacherAnswer("The answer is 7"))
    for change in ({"temperature": 0.1}, {"teacher": "b"}, {"model": "b"}, {"accept": "right"}):
        with pytest.raises(UserError, match=rf"gpt.jsonl:1: .* another {next(iter(change))}: name"):
            AnswerFile(path, replace(SETTINGS, **change))
    for row in ({"question": "Q", "answer": 1}, {"generated": 3}, {"generated": {"settings": {}}}):
        path.write_text(json.dumps(row) + "\n")
        with pytest.raises(UserError, match=r"gpt.jsonl:1: no answer that was generated"):
            AnswerFile(path, SETTINGS)
