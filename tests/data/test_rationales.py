"""The bank: what it refuses, and what is kept of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from compact_bench.data.rationales import RationaleBank, question_table, rationale_table
from compact_bench.errors import UserError


def rationale(key: str, teacher: str, right: bool = True, sample: int = 0) -> dict[str, object]:
    role = "human" if teacher == "human" else "teacher"
    return {"question_id": key, "teacher": teacher, "sample": sample, "role": role, "text": "t",
            "answer": "1" if right else None, "right": right, "corruption": ""}  # fmt: skip


@pytest.fixture
def bank() -> RationaleBank:
    """q0 with ada (twice), bob and a human; q1 with a wrong ada; q2 with bob and a human."""
    questions = question_table(
        {"question_id": f"q{i}", "question": f"Q{i}", "answer": "1", "kind": "number"}
        for i in range(3)
    )
    rows = [
        rationale("q0", "ada"),
        rationale("q0", "ada", sample=1),
        rationale("q0", "bob"),
        rationale("q0", "human"),
        rationale("q1", "ada", right=False),
        rationale("q2", "bob"),
        rationale("q2", "human"),
    ]
    return RationaleBank(questions, rationale_table(rows), ("ada", "bob"))


def ids(bank: RationaleBank) -> list[str]:
    return list(bank.questions["question_id"])


def test_only_teachers(bank: RationaleBank) -> None:
    both = bank.only_teachers(("bob", "ada"))
    assert both.teachers == ("bob", "ada")
    assert set(both.rationales["teacher"]) == {"ada", "bob"}
    assert ids(bank.only_teachers(["ada"])) == ["q0", "q1"]
    with pytest.raises(UserError, match=r"teacher 'bop' \(did you mean 'bob'\?\); known: ada, bob"):
        bank.only_teachers(["bop"])


def test_humans(bank: RationaleBank) -> None:
    humans = bank.humans()
    assert (humans.teachers, ids(humans)) == (("human",), ["q0", "q2"])
    assert bank.only_teachers(bank.teachers).humans().rationales.empty


def test_keep_by_ids_and_by_mask(bank: RationaleBank) -> None:
    assert ids(bank.keep(["q2", "q0"])) == ["q0", "q2"]
    assert bank.keep([]).questions.empty
    # q1 has no right rationale left; the human one alone keeps no question.
    right = bank.keep(bank.rationales["right"])
    assert ids(right) == ["q0", "q2"]
    no_bob = bank.keep((bank.rationales["teacher"] != "bob").to_numpy())
    assert ids(no_bob) == ["q0", "q1"]
    assert bank.keep(np.zeros(len(bank.rationales), bool)).rationales.empty
    with pytest.raises(ValueError, match="a mask of 2 for 7 rationales"):
        bank.keep([True, False])


def test_fingerprint_follows_the_content(bank: RationaleBank) -> None:
    same = RationaleBank(bank.questions.copy(), bank.rationales.copy(), bank.teachers)
    assert same.fingerprint() == bank.fingerprint()
    changed = bank.rationales.assign(text=["u", *bank.rationales["text"][1:]])
    others = [
        RationaleBank(bank.questions, changed, bank.teachers),
        RationaleBank(bank.questions, bank.rationales, ("bob", "ada")),
        bank.keep(["q0", "q1"]),
    ]
    assert len({bank.fingerprint(), *(other.fingerprint() for other in others)}) == 4


def test_a_missing_answer_is_none(bank: RationaleBank) -> None:
    assert bank.rationales["answer"].tolist()[4] is None


def test_an_inconsistent_bank_is_refused(bank: RationaleBank) -> None:
    with pytest.raises(ValueError, match=r"lacks the columns \['right'\]"):
        RationaleBank(bank.questions, bank.rationales.drop(columns="right"), bank.teachers)
    with pytest.raises(ValueError, match="q0 occurs twice"):
        RationaleBank(pd.concat([bank.questions] * 2), bank.rationales, bank.teachers)
    with pytest.raises(ValueError, match="belongs to no question"):
        RationaleBank(bank.questions.head(1), bank.rationales, bank.teachers)


def test_the_lowest_score_of_each_question(bank):
    scores = {
        ("q0", "ada", 0): 2.0,
        ("q0", "ada", 1): 1.0,
        ("q0", "bob", 0): 1.0,  # ties with the one before, which is first
        ("q1", "ada", 0): float("nan"),
        ("q2", "bob", 0): 9.0,
        ("q7", "bob", 0): 0.0,  # of no rationale here
    }
    best = bank.lowest(scores)
    assert ids(best) == ["q0", "q2"]
    assert list(best.rationales["teacher"]) == ["ada", "bob"]
    assert list(best.rationales["sample"]) == [1, 0]
    # Whatever index the table has: a bank that was filtered before has gaps in it.
    assert ids(bank.keep(["q2"]).lowest(scores)) == ["q2"]
    assert ids(bank.lowest({})) == []


def test_a_teacher_s_rationales_are_added_and_judged(bank: RationaleBank) -> None:
    texts = {"q0": ["So it is 1.", "The answer is 2."], "q2": ["Who knows?"]}
    more = bank.with_rationales("own", texts)
    assert more.teachers == ("ada", "bob", "own")
    own = more.rationales[more.rationales["teacher"] == "own"]
    assert own[["question_id", "sample", "answer", "right"]].to_numpy().tolist() == [
        ["q0", 0, "1", True],
        ["q0", 1, "2", False],
        ["q2", 0, None, False],
    ]
    assert set(own["role"]) == {"teacher"} and set(own["corruption"]) == {""}
    pd.testing.assert_frame_equal(more.rationales.head(len(bank.rationales)), bank.rationales)
    assert more.only_teachers(["own"]).questions["question_id"].tolist() == ["q0", "q2"]
    assert bank.with_rationales("own", {}).rationales.equals(bank.rationales)
    for name, wrong in (("ada", {}), ("human", {}), ("own", {"q9": ["?"]})):
        with pytest.raises(ValueError, match=r"already|no question 'q9'"):
            bank.with_rationales(name, wrong)
