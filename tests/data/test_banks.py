"""Rows of files as a bank: joined to the training questions, answers judged, the rest counted."""

from __future__ import annotations

from collections import defaultdict

import pytest

from compact_bench.data.banks import LeftOut, infer_kind, questions_of, rationales_of
from compact_bench.data.importers import FileRow
from compact_bench.data.splits import question_id
from compact_bench.errors import UserError


def test_of_equal_questions_the_first_stays():
    rows = [
        FileRow("f:1", "How many?", gold="1,450"),
        FileRow("f:2", "how  MANY", gold="7"),
        FileRow("f:3", "Who?", gold="2"),
    ]
    table = questions_of(rows, "number")
    assert list(table["answer"]) == ["1450", "2"]
    assert list(table["question_id"]) == [question_id("How many?"), question_id("Who?")]
    with pytest.raises(UserError, match="f:3: the answer '2' is not a boolean"):
        questions_of(rows[2:], "boolean")


def test_rationales_are_judged_and_what_is_left_out_is_counted():
    questions = questions_of([FileRow("q", "How many?", gold="5")], "number")
    rows = [
        FileRow("f:1", "How many? ", "2 + 3 = 5. The answer is 5"),
        FileRow("f:2", "How many?", "The answer is 6", sample=1),
        FileRow("f:3", "How many?", "The answer is 7", sample=1),
        FileRow("f:4", "How many?", sample=2),
        FileRow("f:5", "A test question?", "The answer is 5"),
    ]
    left_out: LeftOut = defaultdict(list)
    found = rationales_of(rows, "ada", questions, left_out)
    assert [(row["sample"], row["answer"], row["right"]) for row in found] == [
        (0, "5", True), (1, "6", False),
    ]  # fmt: skip
    assert {row["role"] for row in found} == {"teacher"}
    assert left_out == {
        "ada: not a training question": ["f:5"], "ada: no text": ["f:4"], "ada: repeated": ["f:3"],
    }  # fmt: skip
    assert rationales_of(rows[:1], "human", questions, left_out)[0]["role"] == "human"


@pytest.mark.parametrize(
    ("gold", "kind"),
    [(["1", "2.5"], "number"), (["yes", "False"], "boolean"), (["A", "(e)"], "choice")],
)
def test_the_kind_is_what_all_answers_are_of(gold, kind):
    assert infer_kind([FileRow("f", "Q", gold=answer) for answer in gold]) == kind


def test_the_first_answer_that_fits_none_is_named():
    rows = [FileRow(f"f:{n}", "Q", gold=answer) for n, answer in enumerate(["1", "green", "red"])]
    with pytest.raises(UserError, match=r"f:1: the answers are not all numbers.*'green'"):
        infer_kind(rows)
