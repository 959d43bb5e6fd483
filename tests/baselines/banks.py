"""Small banks for the tests of methods that select."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from compact_bench.api import Run
from compact_bench.data.rationales import RationaleBank, question_table, rationale_table
from tests.models import QUESTIONS

# question_id, teacher, text, answer; and, if they matter, right and sample
Row = tuple[Any, ...]


def bank_of(rows: Iterable[Row], teachers: tuple[str, ...]) -> RationaleBank:
    """A bank of these rationales; every question's text is its id and a question mark."""
    table = []
    for key, teacher, text, answer, *rest in rows:
        right, sample = (*rest, *(True, 0)[len(rest) :])
        table.append(
            {
                "question_id": key,
                "teacher": teacher,
                "sample": sample,
                "role": "teacher",
                "text": text,
                "answer": answer,
                "right": right,
                "corruption": "",
            }
        )
    keys = dict.fromkeys(row["question_id"] for row in table)
    questions = [
        {"question_id": key, "question": f"{key}?", "answer": "1", "kind": "number"} for key in keys
    ]
    return RationaleBank(question_table(questions), rationale_table(table), teachers)


def layout_bank() -> RationaleBank:
    """The questions and rationales of `make_batch` as a bank: teachers a, b, c."""
    rows = [
        (str(i), "abc"[k], text, answer, answer == rationales[0][1])
        for i, rationales in enumerate(QUESTIONS.values())
        for k, (text, answer) in enumerate(rationales)
    ]
    bank = bank_of(rows, ("a", "b", "c"))
    bank.questions["question"] = list(QUESTIONS)
    bank.questions["answer"] = [rationales[0][1] for rationales in QUESTIONS.values()]
    return bank


def chosen(bank: RationaleBank) -> list[tuple[str, str]]:
    """(question_id, teacher) of the bank's rationales."""
    return list(zip(bank.rationales["question_id"], bank.rationales["teacher"], strict=True))


def run_of(bank: RationaleBank, training: Any = None) -> Run:
    """What `skip` looks at."""
    return Run(bank, bank.teachers, None, training)
