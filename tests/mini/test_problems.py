"""Generated problems, read again from their texts alone."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compact_bench.data.splits import parse_choices
from tests.mini.reading import COMPARISONS, SUMS, amounts, read_story, sample, solve

# Steps of a comparison's stories, by task.
LENGTHS = {"questions": 1, "mini_new_template": 1, "mini_more_steps": 2}


@pytest.mark.parametrize("problem", SUMS)
def test_answers_to_stories_agree_with_the_text(problem):
    for made in sample(problem):
        assert made.answer == read_story(made.question), made.question


def test_gsm8k_problems_have_three_steps_and_two_orders():
    for made in sample("gsm8k"):
        assert len(made.steps) == len(made.other_order) == 3
        assert made.steps != made.other_order


def test_svamp_problems_have_a_number_that_does_not_matter():
    lengths = set()
    for made in sample("svamp"):
        lengths.add(len(made.steps))
        numbers = len(re.findall(r"\d+", made.question))
        assert numbers == len(made.steps) + 2  # n steps read n + 1 numbers
    assert lengths == {2, 3}


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(COMPARISONS), st.sampled_from([*LENGTHS]), st.integers(0, 10**9))
def test_answers_to_comparisons_agree_with_the_text(problem, part, seed):
    for made in sample(problem, 5, seed, part, "test"):
        assert made.answer == solve(made.question), made.question
        assert amounts(parse_choices(made.question)[0])[1] == LENGTHS[part], made.question
        assert len(made.steps) == len(made.other_order) == LENGTHS[part] + 1


@pytest.mark.parametrize("problem", COMPARISONS)
def test_answers_are_balanced(problem):
    counts = Counter(made.answer for made in sample(problem, 1000, 3, within="test"))
    share = 1 / (2 if problem == "strategyqa" else 3)
    assert len(counts) == round(1 / share)
    for count in counts.values():  # four standard errors
        assert abs(count / 1000 - share) < 4 * (share * (1 - share) / 1000) ** 0.5
