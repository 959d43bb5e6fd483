"""What the written-down teachers write, read again from its text alone."""

from __future__ import annotations

import random
import re

import pytest

from compact_bench.data.answers import extract_answer, pieces, split_steps, strip_answer_sentence
from compact_bench.data.splits import parse_choices
from compact_bench.mini import problems, teachers
from compact_bench.mini.world import GENERATORS
from tests.mini.reading import (
    COMPARISONS,
    EQUATION,
    EVERY,
    SUMS,
    amounts,
    equations_of,
    read_story,
    sample,
    solve,
    true_value,
)

STYLES = teachers.STYLES | teachers.MORE_STYLES
COMPARISON = re.compile(r"(\d+) is (more than|less than|the same as) (\d+)\.")
HOLDS = {"more than": int.__gt__, "less than": int.__lt__, "the same as": int.__eq__}
VALUE = {"+": int.__add__, "plus": int.__add__, "-": int.__sub__, "minus": int.__sub__,
         "*": int.__mul__, "times": int.__mul__, "/": int.__floordiv__,
         "divided by": int.__floordiv__}  # fmt: skip


@pytest.mark.parametrize("order", ["steps", "other_order"])
@pytest.mark.parametrize("style", sorted(STYLES))
@pytest.mark.parametrize("problem", SUMS)
def test_clean_rationales_compute_every_value(problem, style, order):
    for made in sample(problem, 100):
        steps = getattr(made, order)
        values = problems.evaluate(steps)
        lines = teachers.solution_lines(steps, values, values)
        body = teachers.rationale_body(style, made, lines)
        written = equations_of(body)
        assert len(written) == len(steps)
        known = [int(n) for n in re.findall(r"\d+", made.question)]
        for a, sign, b, v in written:
            assert true_value(a, sign, b) == v, body
            for operand in (a, b):  # each number is read once, from the question or a result
                known.remove(operand)
            known.append(v)
            assert 1 <= v <= problems.LARGEST
        assert written[-1][-1] == read_story(made.question)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("problem", EVERY)
def test_no_teacher_is_best_and_one_is_right(problem, correlation):
    written = [teachers.teach(made, 0, correlation) for made in sample(problem, 600)]
    for k, teacher in enumerate(teachers.TEACHERS):
        right = sum(row[k].right for row in written) / len(written)
        assert 0.5 < right <= 0.78, teacher.name  # of 600: two standard errors are 0.04
        # No teacher is the only clean one all the time, nor hardly ever.
        alone = [row[k].corruption == "" for row in written
                 if sum(rationale.corruption == "" for rationale in row) == 1]  # fmt: skip
        assert 0.1 < sum(alone) / len(alone) < 0.45, teacher.name
    assert all(
        any(rationale.right and not rationale.corruption for rationale in row) for row in written
    )


def test_competence_differs_by_operation():
    rate = {}
    for op in problems.SYMBOL:
        chosen = [made for made in sample("gsm8k", 1500) if op in {s.op for s in made.steps}]
        written = [teachers.teach(made, 0, 0.0) for made in chosen]
        rate[op] = [sum(row[k].right for row in written) / len(written) for k in range(4)]
    best = {max(range(4), key=lambda k: rate[op][k]) for op in rate}
    assert len(best) >= 2
    assert rate["div"][2] < rate["div"][0] - 0.15


def test_correlation_makes_errors_coincide_and_agree():
    together, agree = {}, {}
    for correlation in (0.0, 0.5, 1.0):
        written = [teachers.teach(made, 0, correlation) for made in sample("gsm8k", 500)]
        wrong = [[rationale.answer for rationale in row if not rationale.right] for row in written]
        several = [answers for answers in wrong if len(answers) > 1]
        together[correlation] = sum(len(answers) == 3 for answers in wrong)
        agree[correlation] = sum(len(set(answers)) == 1 for answers in several) / len(several)
    assert together[0.0] < together[0.5] < together[1.0]
    assert agree[0.0] < agree[0.5] < agree[1.0]
    assert agree[1.0] > 0.9


@pytest.mark.parametrize("problem", SUMS)
def test_faults_are_what_they_are_called(problem):
    seen = set()
    for made in sample(problem):
        truth = read_story(made.question)
        for rationale in teachers.teach(made, 0, 0.0, teachers.ALL_TEACHERS):
            seen.add(rationale.corruption)
            written = equations_of(rationale.text)
            wrong = [v != int(true_value(a, sign, b)) for a, sign, b, v in written]
            assert rationale.right == (rationale.answer == truth)
            assert extract_answer(rationale.text, "number") == str(rationale.answer)
            if rationale.corruption == "slip":
                assert not rationale.right
                assert sum(wrong) == 1
                assert written[-1][-1] == rationale.answer
            elif rationale.corruption == "wrong_step":
                assert rationale.right
                assert sum(wrong) == 1
                assert not wrong[-1]
            elif rationale.corruption == "filler":
                assert rationale.right
                assert not written
            else:
                assert rationale.right
                assert not any(wrong)
                assert written
    assert seen == {"", "slip", "wrong_step", "filler"}


def test_length_does_not_tell_filler():
    lengths = {"": [], "filler": []}
    for made in sample("gsm8k", 600):
        for rationale in teachers.teach(made, 0, 0.0):
            if rationale.teacher == "equations" and rationale.corruption in lengths:
                lengths[rationale.corruption].append(pieces(rationale.text))
    mean = {name: sum(values) / len(values) for name, values in lengths.items()}
    assert abs(mean["filler"] / mean[""] - 1) < 0.15


def faults_of(text):
    """(wrong equations, whether the comparison is wrong), None where it is filler."""
    *steps, last = split_steps(strip_answer_sentence(text))
    if not (compared := COMPARISON.fullmatch(last)):
        return None
    found = [match.groups() for step in steps if (match := EQUATION.search(step))]
    assert len(found) == len(steps) == 1
    wrong = sum(VALUE[sign](int(a), int(b)) != int(v) for a, sign, b, v in found)
    return wrong, not HOLDS[compared[2]](int(compared[1]), int(compared[3]))


@pytest.mark.parametrize("problem", COMPARISONS)
def test_faults_of_comparisons_are_what_they_are_called(problem):
    kind = GENERATORS[problem].kind
    seen = set()
    for made in sample(problem, 200, 3, within="test"):
        truth = solve(made.question)
        for rationale in teachers.teach(made, 0, 0.3, teachers.ALL_TEACHERS):
            seen.add(rationale.corruption)
            assert extract_answer(rationale.text, kind) == rationale.answer
            assert (
                rationale.right == (rationale.answer == truth) == (rationale.corruption != "slip")
            )
            found = faults_of(rationale.text)
            assert (found is None) == (rationale.corruption == "filler")
            if rationale.corruption == "slip":
                assert sum(found) == 1  # it carries on
            elif found is not None:
                assert found == (rationale.corruption == "wrong_step", False)
        human = teachers.human_solution(made)
        assert human.answer == extract_answer(human.text, kind) == truth
    assert seen == {"", "slip", "wrong_step", "filler"}


@pytest.mark.parametrize("problem", COMPARISONS)
def test_a_labelled_step_says_whose_number_it_is(problem):
    for made in sample(problem, 60, 3, "mini_more_steps", "test"):
        have, _ = amounts(parse_choices(made.question)[0])
        for teacher in teachers.TEACHERS[3:]:
            for number in (0, 1):  # in either order
                rationale = teachers.write(made, teacher, "", random.Random(0), sample=number)
                results = re.findall(r"(\w+) has [^=]+ = (\d+) ", rationale.text)
                assert len(results) == len(made.steps) - 1
                assert all(have[name] == int(number) for name, number in results)
