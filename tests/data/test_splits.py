"""Normalisation, hash splits, the two forms of choices, and leaks."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compact_bench.data.rationales import question_table
from compact_bench.data.splits import (
    check_leaks,
    is_dev,
    lowest,
    normalise,
    overlap,
    parse_choices,
    question_id,
    template,
    template_clean,
    unify_choices,
    write_choices,
)
from compact_bench.errors import UserError

TRAINING_FORM = "Q: Where might he go? Answer choices: A: race track, B: the desert, C: U.S."
TEST_FORM = "Where might he go? Answer Choices:\nA. race track\nB. the desert\nC. U.S.\n"


def test_normalise() -> None:
    assert normalise("  How many\tAPPLES, in ２_kg?\n") == "how many apples in 2 kg"
    assert normalise("It’s 3.5") == "it s 3 5"


def test_identifier_is_the_hash_of_the_normalised_question() -> None:
    expected = hashlib.sha256(b"how many apples").hexdigest()
    assert question_id("How many apples?") == expected[:16]
    assert is_dev("How many apples?") == (int(expected, 16) % 10 == 0)


@given(st.text(max_size=40))
def test_normalise_is_idempotent_and_ignores_case_and_spaces(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)
    assert normalise(f"  {text}\n") == normalise(text)


def test_both_forms_of_choices_become_one() -> None:
    expected = "Where might he go?\nAnswer choices: (A) race track (B) the desert (C) U.S."
    assert unify_choices(TRAINING_FORM) == unify_choices(TEST_FORM) == expected
    assert unify_choices(expected) == expected
    assert question_id(TRAINING_FORM) == question_id(TEST_FORM) == question_id("where might he go")


def test_a_question_without_choices_stays() -> None:
    assert parse_choices(" How many? ") == ("How many?", [])
    assert unify_choices("How many?") == "How many?"


@given(st.lists(st.text("abc xyz", min_size=1).map(str.strip).filter(bool), min_size=2, max_size=5))
def test_choices_survive_writing_and_reading(choices: list[str]) -> None:
    assert parse_choices(write_choices("Where?", choices)) == ("Where?", choices)


@given(st.lists(st.text(min_size=1, max_size=8), unique_by=question_id, max_size=12))
def test_lowest_hashes_are_nested_and_independent_of_order(questions: list[str]) -> None:
    rows = [
        {"question_id": question_id(q), "question": q, "answer": "1", "kind": "number"}
        for q in questions
    ]
    full = list(lowest(question_table(rows), None)["question_id"])
    assert full == sorted(full)
    for size in range(len(rows) + 1):
        assert list(lowest(question_table(rows[::-1]), size)["question_id"]) == full[:size]


def test_leaks_are_found_across_spelling() -> None:
    with pytest.raises(UserError, match="1 of the 2 test questions of 'in_domain' are in the trai"):
        check_leaks(["How many apples?"], [], {"in_domain": ["how MANY  apples", "Other?"]})
    with pytest.raises(UserError, match="in the dev set"):
        check_leaks([], [TRAINING_FORM], {"csqa": [TEST_FORM]})
    with pytest.raises(UserError, match="1 dev questions are in the training set"):
        check_leaks(["A?"], ["a"], {})
    check_leaks(["A?"], ["B?"], {"x": ["C?"], "y": []})


def test_numbers_tell_questions_apart() -> None:
    assert overlap(["Ann has 5 apples."], ["Ann has 6 apples."]) == []


STORY = "Ann has {} pens. Ben has {:,} more!"


@given(st.integers(0, 10**7), st.integers(0, 10**7))
def test_numbers_and_what_is_asked_make_no_other_template(first, second):
    old = f"{STORY.format(first, second)} How many has Ann?"
    new = f"{STORY.format(second, first)}  Who has more than {first / 8}?"
    assert template(old) == template(new)
    assert template_clean([old], [new, old.replace("Ann", "Cara")]) == [False, True]


def test_a_question_of_one_sentence_is_all_story():
    assert template_clean(["Are 3 cats 4?"], ["Are 7 cats 90?", "Are 3 dogs 4?"]) == [False, True]


def test_choices_without_letters_are_no_choices():
    text = "Where? Answer choices: bank, library"
    assert parse_choices(text) == (text, [])
