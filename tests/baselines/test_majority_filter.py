"""The majority's rationales, counted by hand."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from compact_bench.methods.registry import load
from tests.baselines.banks import bank_of, chosen

METHOD = load().methods["majority_filter"]


def kept(*answers):
    teachers = tuple(f"t{i}" for i in range(len(answers)))
    rows = [("q0", teacher, "r", a) for teacher, a in zip(teachers, answers, strict=True)]
    return [teacher for _, teacher in chosen(METHOD().select(bank_of(rows, teachers), None))]


def test_the_majority_and_its_ties():
    assert kept("3", "4", "3") == ["t0", "t2"]
    assert kept("3", "4", "4", "3", "5") == ["t0", "t1", "t2", "t3"]
    assert kept("3", "4") == ["t0", "t1"]
    assert kept("3") == ["t0"]


def test_a_missing_answer_agrees_with_nobody():
    assert kept(None, None, "4") == ["t2"]
    assert kept(None, None) == ["t0", "t1"]  # nothing tells them apart


def test_each_question_has_its_own_majority():
    rows = [
        ("q0", "ada", "r", "1"),
        ("q1", "ada", "r", "2"),
        ("q0", "bob", "r", "1"),
        ("q1", "bob", "r", "1"),
        ("q0", "cy", "r", "2"),
        ("q1", "cy", "r", "2"),
    ]
    found = chosen(METHOD().select(bank_of(rows, ("ada", "bob", "cy")), None))
    assert found == [("q0", "ada"), ("q1", "ada"), ("q0", "bob"), ("q1", "cy")]


@given(st.lists(st.sampled_from(["1", "2", "3", None]), min_size=1, max_size=7))
def test_against_counting(answers):
    votes = Counter(a for a in answers if a is not None)
    most = max(votes.values(), default=None)
    expected = [f"t{i}" for i, a in enumerate(answers) if most is None or votes[a] == most]
    assert kept(*answers) == expected
