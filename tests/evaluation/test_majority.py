"""Majority answers: what is taken after a rationale, and what wins."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compact_bench.evaluation.majority import majority, votes
from compact_bench.student.encode import Encoder
from tests.tiny_student import byte_tokenizer, taught_student


@pytest.mark.parametrize(
    ("answers", "kind", "expected"),
    [
        (["7", "12", "7.0"], "number", "7"),
        ([None, None, "3"], "number", "3"),
        ([None, None], "number", None),
        ([], "number", None),
        (["4", "5", "5", "4"], "number", "4"),  # as often: the first
        (["yes", "no", "no"], "boolean", "no"),
        (["b", "B", "C"], "choice", "B"),
    ],
)
def test_the_commonest_answer_wins(answers, kind, expected):
    assert majority(answers, kind) == expected


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12))
def test_no_answer_is_commoner_than_the_majority(numbers):
    found = majority([str(number) for number in numbers], "number")
    assert Counter(numbers)[int(found)] == max(Counter(numbers).values())


def test_answers_are_written_after_the_rationale():
    tokenizer = byte_tokenizer()
    encoder = Encoder(tokenizer)
    prompt = encoder.prompt("1 and 2?")
    found = votes(
        taught_student(tokenizer), encoder, [(prompt, ("one, two", "one, two"), "number")], 8
    )
    assert found == [["3", "3"]]
