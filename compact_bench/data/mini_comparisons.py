"""Comparisons of two people: yes/no questions and questions with choices, for `mini`."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace

from compact_bench.data.mini_problems import (
    COMPARE,
    FIRST,
    NAMES,
    NOUNS,
    SAME,
    SECOND,
    Event,
    Problem,
    Step,
    Term,
    bucket,
    clauses,
    evaluate,
    graph,
    story,
)
from compact_bench.data.splits import LETTERS, write_choices

Story = tuple[Event, tuple[Event, ...]]
# The question from (random state, two names, noun), and the answers by outcome of the comparison.
Asking = Callable[[random.Random, str, str, str], tuple[str, tuple[str, ...]]]
BOTH = "both"


def ask_more(_: random.Random, first: str, second: str, noun: str) -> tuple[str, tuple[str, ...]]:
    """`Does Ann have more apples than Ben?` with its answers by outcome."""
    return f"Does {first} have more {noun} than {second}?", ("no", "yes", "no")


def ask_less(_: random.Random, first: str, second: str, noun: str) -> tuple[str, tuple[str, ...]]:
    """The same asked of the other: a form that nobody is trained on."""
    return f"Is it true: {second} has less {noun} than {first}?", ("no", "yes", "no")


def ask_who(
    rng: random.Random, first: str, second: str, noun: str, wording: str = "Who has more {noun}?"
) -> tuple[str, tuple[str, ...]]:
    """`Who has more apples?` with five choices: the two, both, and two who are not in the story."""
    strangers = rng.sample([name for name in NAMES if name not in (first, second)], 2)
    choices = [first, second, BOTH, *strangers]
    rng.shuffle(choices)
    letters = {text: letter for letter, text in zip(LETTERS, choices, strict=True)}
    by_outcome = {SAME: letters[BOTH], FIRST: letters[first], SECOND: letters[second]}
    answers = tuple(by_outcome[outcome] for outcome in sorted(by_outcome))
    return write_choices(wording.format(noun=noun), choices), answers


def ask_who_most(
    rng: random.Random, first: str, second: str, noun: str
) -> tuple[str, tuple[str, ...]]:
    """The same in a form that nobody is trained on."""
    return ask_who(rng, first, second, noun, "Which of both has the most {noun}?")


def comparisons(
    rng: random.Random, within: str, asking: Asking, outcomes: tuple[int, ...], steps: int = 2
) -> Iterator[Problem]:
    """Endless comparisons of one bucket, with repeats.

    outcomes: drawn from alike, so that answers are as balanced as these. steps: of both people
    together; each has one at least.
    """
    while True:
        wanted = rng.choice(outcomes)
        first, second = _story(rng, steps - steps // 2), _story(rng, steps // 2)
        ours = _graph(first, second)
        if evaluate(ours)[-1] != wanted:
            continue
        question = ""
        while not question or bucket(question) != within:  # the same stories, told otherwise
            names, noun = rng.sample(NAMES, 2), rng.choice(NOUNS)
            told = [*clauses(rng, *first, names[0], noun, False),
                    *clauses(rng, *second, names[1], noun, False)]  # fmt: skip
            asked, answers = asking(rng, names[0], names[1], noun)
            question = " ".join([*told, asked])
        owned = _owned(ours, names, len(graph(*first)))
        yield Problem(question, owned, _other_order(owned, names), names[0], noun, answers)


def _story(rng: random.Random, steps: int) -> Story:
    while True:
        if made := story(rng, steps):
            return made


def _graph(first: Story, second: Story) -> tuple[Step, ...]:
    """The steps of the first, those of the second, and the comparison of their results."""
    left, right = graph(*first), graph(*second)
    moved = tuple(_moved(step, len(left)) for step in right)
    ends = Term("step", len(left) - 1), Term("step", len(left) + len(right) - 1)
    return (*left, *moved, Step(COMPARE, *ends))


def _moved(step: Step, by: int) -> Step:
    def term(one: Term) -> Term:
        return one if one.kind == "number" else Term("step", one.value + by)

    return replace(step, left=term(step.left), right=term(step.right))


def _owned(steps: tuple[Step, ...], names: list[str], first: int) -> tuple[Step, ...]:
    """The steps with whose number each computes; `first`: how many are the first one's."""
    return tuple(
        replace(step, owner=names[index >= first]) if step.op != COMPARE else step
        for index, step in enumerate(steps)
    )


def _other_order(steps: tuple[Step, ...], names: list[str]) -> tuple[Step, ...]:
    """The second one's steps first; the comparison reads the same two results."""
    left = [step for step in steps if step.owner == names[0]]
    right = [step for step in steps if step.owner == names[1]]
    ends = Term("step", len(steps) - 2), Term("step", len(right) - 1)
    back = [_moved(step, -len(left)) for step in right]
    return (*back, *(_moved(step, len(right)) for step in left), Step(COMPARE, *ends))
