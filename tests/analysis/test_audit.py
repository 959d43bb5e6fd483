"""An audit of teachers, against a bank that is small enough to count by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import matthews_corrcoef
from statsmodels.stats.proportion import proportion_confint

from compact_bench.analysis.audit import audit, warnings
from compact_bench.data.rationales import RationaleBank, question_table, rationale_table

QUESTIONS = ["Ann has 3 pens and buys 4.", "Bob has 5 pens.", "Cy eats 2.", "Di finds 6."]


def bank_of(right: np.ndarray, texts: dict[str, str] | None = None) -> RationaleBank:
    """Teachers a, b, ... with these right answers by question; -1: no rationale."""
    number, teachers = right.shape
    names = tuple("abcdef"[:teachers])
    questions = [
        {"question_id": str(q), "question": QUESTIONS[q % 4] + " " * (q // 4), "answer": "7",
         "kind": "number"}
        for q in range(number)
    ]  # fmt: skip
    rows = [
        {"question_id": str(q), "teacher": name, "sample": 0, "role": "teacher", "right": bool(r),
         "text": (texts or {}).get(name, f"{name} says {q}. So 3 + 4 = 7. The answer is 7."),
         "answer": "7" if r else None, "corruption": ""}
        for q in range(number)
        for name, r in zip(names, right[q], strict=True)
        if r >= 0
    ]  # fmt: skip
    return RationaleBank(question_table(questions), rationale_table(rows), names)


def test_one_teacher_by_hand():
    found = audit(bank_of(np.array([[1, 1], [1, -1], [0, 1], [1, 0]])), ["Something else?"])
    a, b = found.teachers
    assert (a.questions, a.rationales, a.right, a.readable) == (4, 4, 0.75, 0.75)
    assert (a.low, a.high) == pytest.approx(proportion_confint(3, 4, method="wilson"))
    assert (a.words, a.steps, a.repeated, a.empty) == (9, 2, 0.0, 0)
    assert b.questions == 3 and found.questions == 4 and found.same == found.alike == ()
    assert list(warnings(found)) == [
        "a: only 75% of its answers can be read",
        "b has no rationale for 1 of 4 questions",
        "b: only 67% of its answers can be read",
    ]


def test_texts_that_say_nothing_or_the_same():
    texts = {"a": "The answer is 7.", "b": "Look. The answer is 7."}
    a, b = audit(bank_of(np.ones((4, 2), dtype=int), texts), []).teachers
    assert (a.empty, b.empty) == (4, 0)
    assert (a.repeated, b.repeated) == (1.0, 1.0)


def test_test_questions_that_are_trained_on():
    asked = ["Bob has 5 pens.", "Bob has 8 pens.", "Who?"]
    found = audit(bank_of(np.ones((4, 1), dtype=int)), asked)
    assert found.same == ("Bob has 5 pens.",) and found.alike == ("Bob has 8 pens.",)
    assert warnings(found)[-2:] == [
        "1 of 3 test questions are trained on",
        "1 of 3 test questions are training questions with other numbers",
    ]


def test_likelihoods_are_means_by_teacher():
    bank = bank_of(np.ones((2, 2), dtype=int))
    nll = pd.Series({("0", "a", 0): 1.0, ("1", "a", 0): 3.0, ("0", "b", 0): 0.5})
    assert [one.nll for one in audit(bank, [], nll).teachers] == [2.0, 0.5]


@settings(max_examples=30)
@given(st.integers(2, 5).flatmap(
    lambda k: st.lists(st.lists(st.integers(0, 1), min_size=k, max_size=k), min_size=2, max_size=8)
))  # fmt: skip
def test_errors_in_common_and_the_order_to_pay_in(right: list[list[int]]):
    values = np.array(right)
    found = audit(bank_of(values), [])
    for i, first in enumerate(found.together.columns):
        for j, second in enumerate(found.together.columns):
            if 0 < values[:, i].mean() < 1 and 0 < values[:, j].mean() < 1:
                expected = matthews_corrcoef(values[:, i], values[:, j])
                assert found.together.loc[first, second] == pytest.approx(expected)
    names, shares = zip(*found.order, strict=True)
    assert sorted(names) == sorted(one.teacher for one in found.teachers)
    assert shares[0] == values.mean(axis=0).max() and shares[-1] == values.any(axis=1).mean()
    gains = np.diff((0.0, *shares))
    assert (gains >= 0).all() and (np.diff(gains) <= 1e-12).all()  # a later one never adds more
