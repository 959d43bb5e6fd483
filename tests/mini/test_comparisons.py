"""Generated comparisons, read again from their texts alone."""

from __future__ import annotations

import random
import re
from collections import Counter
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from compact_bench.data.answers import extract_answer, split_steps, strip_answer_sentence
from compact_bench.data.splits import normalise, parse_choices
from compact_bench.mini import teachers
from compact_bench.mini.nano import nano_path
from compact_bench.mini.world import GENERATORS, generate

PROBLEMS = ["csqa", "strategyqa"]
TASKS = ["mini_new_template", "mini_more_steps"]
LENGTHS = {"questions": 1, "mini_new_template": 1, "mini_more_steps": 2}


def amounts(stem):
    """Name -> how many, and how many steps it took in all: the story, sentence by sentence."""
    have, steps = {}, 0
    for sentence in re.findall(r"[^.?]+\.", stem):
        name = re.match(r"\s*(?:Then )?(\w+)", sentence)[1]
        numbers = [int(n) for n in re.findall(r"\d+", sentence)]
        amount = numbers[0] * numbers[1] if "bags of" in sentence else numbers[0]
        steps += ("bags of" in sentence) + (name in have)
        if name not in have:
            have[name] = amount
        elif "times as many" in sentence:
            have[name] *= amount
        elif "equal parts" in sentence:
            assert have[name] % amount == 0
            have[name] //= amount
        else:
            have[name] += amount * (-1 if re.search("gives|loses", sentence) else 1)
    return have, steps


def solve(question):
    """The answer from the text alone."""
    stem, choices = parse_choices(question)
    have, _ = amounts(stem)
    assert len(have) == 2
    asked = re.search(r"[^.]*\?$", stem)[0]
    if not choices:
        first, second = [n for n in re.findall(r"[A-Z][a-z]+", asked) if n in have]
        more, less = have[first] > have[second], have[first] < have[second]
        return "yes" if (less if " less " in asked else more) else "no"
    assert choices == [*have, "both"]
    best = [name for name in have if have[name] == max(have.values())]
    return "ABC"[choices.index("both" if len(best) == 2 else best[0])]


def made(problem, part="questions", size=200, seed=3):
    generator = GENERATORS[problem]
    stream = generator.questions if part == "questions" else generator.further[part]
    return list(islice(stream(random.Random(seed), "test"), size))


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(PROBLEMS), st.sampled_from([*LENGTHS]), st.integers(0, 10**9))
def test_answers_agree_with_the_text(problem, part, seed):
    for one in made(problem, part, 5, seed):
        assert one.answer == solve(one.question), one.question
        assert amounts(parse_choices(one.question)[0])[1] == LENGTHS[part], one.question
        assert len(one.steps) == len(one.other_order) == LENGTHS[part] + 1


@pytest.mark.parametrize("problem", PROBLEMS)
def test_answers_are_balanced(problem):
    counts = Counter(one.answer for one in made(problem, size=1000))
    share = 1 / (2 if problem == "strategyqa" else 3)
    assert len(counts) == round(1 / share)
    for count in counts.values():  # four standard errors
        assert abs(count / 1000 - share) < 4 * (share * (1 - share) / 1000) ** 0.5


EQUATION = re.compile(
    r"(\d+) ?(\+|-|\*|/|plus|minus|times|divided by) ?(\d+) ?(?:=|makes|and get) ?(\d+)"
)
COMPARISON = re.compile(r"(\d+) is (more than|less than|the same as) (\d+)\.")
HOLDS = {"more than": int.__gt__, "less than": int.__lt__, "the same as": int.__eq__}
VALUE = {"+": int.__add__, "plus": int.__add__, "-": int.__sub__, "minus": int.__sub__,
         "*": int.__mul__, "times": int.__mul__, "/": int.__floordiv__,
         "divided by": int.__floordiv__}  # fmt: skip


def faults_of(text):
    """(wrong equations, whether the comparison is wrong), None where it is filler."""
    *steps, last = split_steps(strip_answer_sentence(text))
    if not (compared := COMPARISON.fullmatch(last)):
        return None
    found = [match.groups() for step in steps if (match := EQUATION.search(step))]
    assert len(found) == len(steps) == 1
    wrong = sum(VALUE[sign](int(a), int(b)) != int(v) for a, sign, b, v in found)
    return wrong, not HOLDS[compared[2]](int(compared[1]), int(compared[3]))


@pytest.mark.parametrize("problem", PROBLEMS)
def test_faults_are_what_they_are_called(problem):
    kind = GENERATORS[problem].kind
    seen = set()
    for one in made(problem):
        truth = solve(one.question)
        for said in teachers.teach(one, 0, 0.3, teachers.ALL_TEACHERS):
            seen.add(said.corruption)
            assert extract_answer(said.text, kind) == said.answer
            assert said.right == (said.answer == truth) == (said.corruption != "slip")
            found = faults_of(said.text)
            assert (found is None) == (said.corruption == "filler")
            if said.corruption == "slip":
                assert sum(found) == 1  # it carries on
            elif found is not None:
                assert found == (said.corruption == "wrong_step", False)
        human = teachers.human_solution(one)
        assert human.answer == extract_answer(human.text, kind) == truth
    assert seen == {"", "slip", "wrong_step", "filler"}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_labelled_step_says_whose_number_it_is(problem):
    for one in made(problem, "mini_more_steps", 60):
        have, _ = amounts(parse_choices(one.question)[0])
        for teacher in teachers.TEACHERS[3:]:
            for sample in (0, 1):  # in either order
                said = teachers.write(one, teacher, "", random.Random(0), sample=sample)
                told = re.findall(r"(\w+) has [^=]+ = (\d+) ", said.text)
                assert len(told) == len(one.steps) - 1
                assert all(have[name] == int(number) for name, number in told)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_sets_are_disjoint_and_made_again_the_same(problem):
    world, again = (generate(problem, train=60, dev=40, test=60) for _ in range(2))
    assert world.bank.rationales.equals(again.bank.rationales)
    sets = {"train": world.bank.questions, "dev": world.dev, "test": world.test, **world.further,
            **world.forgetting}  # fmt: skip
    assert {*TASKS} == {*world.further}
    for task, table in world.further.items():
        assert table.equals(again.further[task])
    asked = [normalise(question) for table in sets.values() for question in table["question"]]
    assert len(asked) == len(set(asked))


@pytest.mark.parametrize("problem", PROBLEMS)
def test_every_word_is_one_token_of_the_shipped_student(problem):
    """No word is spelt in bytes; a line break is a byte, and one token."""
    tokenizer = AutoTokenizer.from_pretrained(nano_path())
    world = generate(problem, train=60, dev=1, test=60)
    tables = [world.bank.questions, world.test, *world.further.values()]
    texts = [q for table in tables for q in table["question"]] + list(world.bank.rationales.text)
    for text in texts:
        pieces = re.findall(r" ?[A-Za-z]+| ?[0-9]| ?[^\sA-Za-z0-9]|\s", text)
        assert "".join(pieces) == text
        assert len(tokenizer(text).input_ids) == len(pieces), text
