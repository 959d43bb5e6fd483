"""Comparisons of two people: yes/no questions and questions with choices, for `mini`."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace

from compact_bench.data.splits import LETTERS, write_choices
from compact_bench.mini.problems import (
    COMPARE,
    FIRST,
    NAMES,
    NOUNS,
    SAME,
    SECOND,
    Event,
    Problem,
    SolutionStep,
    Term,
    bucket,
    clauses,
    evaluate,
    graph,
    story,
)

Story = tuple[Event, tuple[Event, ...]]

# The question from (random state, two names, noun), and the answers by outcome of the comparison.
Asking = Callable[[random.Random, str, str, str], tuple[str, tuple[str, ...]]]

BOTH = "both"

LARGEST_TOLD = 30  # of a number that is compared as it is told


def ask_more(_: random.Random, first: str, second: str, noun: str) -> tuple[str, tuple[str, ...]]:
    """`Does Ann have more apples than Ben?` with its answers by outcome."""
    return f"Does {first} have more {noun} than {second}?", ("no", "yes", "no")


def ask_less(_: random.Random, first: str, second: str, noun: str) -> tuple[str, tuple[str, ...]]:
    """The same asked of the other: a form that nobody is trained on."""
    return f"Is it true: {second} has less {noun} than {first}?", ("no", "yes", "no")


def ask_who(
    _: random.Random, first: str, second: str, noun: str, wording: str = "Who has more {noun}?"
) -> tuple[str, tuple[str, ...]]:
    """`Who has more apples?` with three choices in the story's order: the two, and both.

    Always in this order, and no more of them: the nano student can't find a name's letter among
    shuffled choices, in 200 questions it learns one letter for all.
    """
    choices = [first, second, BOTH]
    letters = dict(zip((FIRST, SECOND, SAME), LETTERS, strict=False))
    answers = tuple(letters[outcome] for outcome in sorted(letters))
    return write_choices(wording.format(noun=noun), choices), answers


def ask_who_most(
    rng: random.Random, first: str, second: str, noun: str
) -> tuple[str, tuple[str, ...]]:
    """The same in a form that nobody is trained on."""
    return ask_who(rng, first, second, noun, "Which of both has the most {noun}?")


def comparisons(
    rng: random.Random, within: str, asking: Asking, outcomes: tuple[int, ...], steps: int = 1
) -> Iterator[Problem]:
    """Endless comparisons of one bucket, with repeats.

    outcomes: drawn from alike, so that answers are as balanced as these. steps: of both people
    together; one step is the first one's or the second one's.
    """
    shares = (steps // 2, steps - steps // 2)
    while True:
        wanted, outcome = rng.choice(outcomes), -1
        while outcome != wanted:
            first, second = (_story(rng, share) for share in rng.sample(shares, 2))
            outcome = evaluate(_steps(first, second, list(NAMES[:2])))[-1]
        question = ""
        while not question or bucket(question) != within:  # the same stories, told otherwise
            names, noun = rng.sample(NAMES, 2), rng.choice(NOUNS)
            told = [*clauses(rng, *first, names[0], noun, False),
                    *clauses(rng, *second, names[1], noun, False)]  # fmt: skip
            asked, answers = asking(rng, names[0], names[1], noun)
            question = " ".join([*told, asked])
        ours, other = _steps(first, second, names), _steps(first, second, names, swapped=True)
        yield Problem(question, ours, other, names[0], noun, answers)


def _story(rng: random.Random, steps: int) -> Story:
    if not steps:
        return Event("has", rng.randint(2, LARGEST_TOLD)), ()
    while True:
        if made := story(rng, steps):
            return made


def _steps(first: Story, second: Story, names: list[str],
           swapped: bool = False) -> tuple[SolutionStep, ...]:  # fmt: skip
    """The steps of one, those of the other, and the comparison of the first's to the second's.

    swapped: the second one's steps come first; the comparison reads the same two results.
    """
    steps: list[SolutionStep] = []
    ends: dict[str, Term] = {}
    told = [(names[0], first), (names[1], second)]
    for name, one in reversed(told) if swapped else told:
        own = [replace(_moved(step, len(steps)), owner=name) for step in graph(*one)]
        steps += own
        ends[name] = Term("step", len(steps) - 1) if own else Term("number", one[0].x)
    return (*steps, SolutionStep(COMPARE, ends[names[0]], ends[names[1]]))


def _moved(step: SolutionStep, by: int) -> SolutionStep:
    def term(one: Term) -> Term:
        return one if one.kind == "number" else Term("step", one.value + by)

    return replace(step, left=term(step.left), right=term(step.right))
