"""Faults of the solution's steps, read again from the texts alone."""

from __future__ import annotations

import ast
import operator
import re
from collections import Counter

import pytest

from compact_bench.data.answers import split_steps, strip_answer_sentence
from compact_bench.data.splits import parse_choices
from compact_bench.mini.graph_faults import rewritten
from compact_bench.mini.teachers import ALL_TEACHERS, sound
from tests.mini.reading import (
    COMPARISONS,
    SUMS,
    amounts,
    equations_of,
    read_story,
    sample,
    true_value,
)

BY_NAME = {teacher.name: teacher for teacher in ALL_TEACHERS}
WORDS = {"plus": "+", "minus": "-", "times": "*", "divided by": "/"}


def cases(problem, fault, size=150):
    """(problem, teacher, its sound rationale, the text and answer with the fault or None)."""
    for made in sample(problem, size):
        for teacher in ALL_TEACHERS:
            for number in (0, 1):
                yield made, teacher, sound(made, teacher, number), rewritten(
                    made, teacher, number, fault)  # fmt: skip


def signs(text):
    return [sign for _, sign, _, _ in equations_of(text)]


@pytest.mark.parametrize("problem", SUMS)
def test_a_misread_product_is_a_sum_and_is_carried_on(problem):
    seen = Counter()
    for made, teacher, clean, found in cases(problem, "misread"):
        has_product = "*" in signs(clean.text)
        seen[has_product, found is not None] += 1
        if found is None:
            if has_product and clean.sample == 0 and not teacher.other_order:
                assert not comes_to_whole_numbers(made.question)
            continue
        text, given = found
        assert signs(text) == [{"*": "+"}.get(sign, sign) for sign in signs(clean.text)]
        assert all(true_value(a, sign, b) == v >= 1 for a, sign, b, v in equations_of(text))
        answer = read_story(made.question, times=operator.add)
        assert int(given) == equations_of(text)[-1][-1] == answer
        assert text.endswith(f"The answer is {given}")
    assert seen[False, True] == 0
    assert seen[True, True] > 1.5 * seen[True, False] > 0


def comes_to_whole_numbers(question):
    """Whether a story where products are read as sums has 1 or more, and no part, at any time."""
    *story, last = re.findall(r"[^.?]+[.?]", question)
    nows = []
    for end in range(1, len(story) + 1):
        try:
            now = read_story("".join([*story[:end], last]), times=operator.add)
        except AssertionError:  # parts with a remainder
            return False
        nows.append(1 if now is None else now)
    return min(nows) >= 1


@pytest.mark.parametrize("problem", SUMS)
def test_one_expression_has_the_answer_as_its_value(problem):
    for made, _, clean, found in cases(problem, "one_expression"):
        text, answer = found
        (step,) = split_steps(strip_answer_sentence(text))
        for word, sign in WORDS.items():
            step = step.replace(word, sign)
        (written,) = re.findall(r"[(\d][-+*/()\d ]*[)\d](?= ?(?:=|makes|and get))", step)
        tree = ast.parse(written.strip(), mode="eval")
        assert eval(compile(tree, "", "eval")) == int(answer) == made.answer
        # Without a bracket too many, and of the numbers and signs of the steps.
        assert ast.unparse(tree).replace(" ", "") == written.replace(" ", "")
        assert sorted(re.findall(r"[-+*/]", written)) == sorted(signs(clean.text))
        results = Counter(v for *_, v in equations_of(clean.text)[:-1])
        operands = Counter(n for a, _, b, _ in equations_of(clean.text) for n in (a, b))
        assert Counter(map(int, re.findall(r"\d+", written))) == operands - results


@pytest.mark.parametrize("problem", SUMS)
def test_the_other_order_is_another_way_to_the_same_answer(problem):
    hit = 0
    for made, teacher, clean, found in cases(problem, "other_order"):
        if found is None:
            continue
        hit += 1
        text, answer = found
        assert text != clean.text and int(answer) == made.answer
        assert all(true_value(a, sign, b) == v for a, sign, b, v in equations_of(text))
        assert sorted(signs(text)) == sorted(signs(clean.text))
        if teacher.name == "equations" and clean.sample == 0:
            assert text == sound(made, BY_NAME["reordered"]).text
    assert hit > (0.95 if problem == "gsm8k" else 0.1) * 150 * len(ALL_TEACHERS) * 2


@pytest.mark.parametrize("problem", COMPARISONS)
def test_faults_of_comparisons_agree_with_what_they_write(problem):
    holds = {"more": operator.gt, "less": operator.lt, "the same": operator.eq}
    for fault in ("misread", "one_expression"):
        for made, _, clean, found in cases(problem, fault, 60):
            if found is None:
                assert fault == "misread" and "*" not in signs(clean.text)
                continue
            text, answer = found
            *_, last = split_steps(strip_answer_sentence(text))
            for word, sign in WORDS.items():
                last = last.replace(word, sign)
            left, how, right = re.fullmatch(r"(.+) is (\D+) (?:than|as) (.+)\.", last).groups()
            values = eval(left), eval(right)
            assert holds[how](*values)
            have, _ = amounts(parse_choices(made.question)[0], misread=fault == "misread")
            assert values == tuple(have.values())
            assert text.endswith(f"The answer is {answer}")
            assert fault == "misread" or answer == made.answer
    assert not any(found for *_, found in cases(problem, "other_order", 20))
