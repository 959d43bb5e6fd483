"""The generated texts, read again by a reader of the tests' own: what they say, what is right."""

from __future__ import annotations

import operator
import random
import re
from functools import cache
from itertools import islice

from compact_bench.data.answers import split_steps, strip_answer_sentence
from compact_bench.data.splits import parse_choices
from compact_bench.mini.world import GENERATORS

EVERY = sorted(GENERATORS)
SUMS = ["gsm8k", "svamp"]  # how many one person has
COMPARISONS = ["csqa", "strategyqa"]  # who of two has more
EQUATION = re.compile(
    r"(\d+) ?(\+|-|\*|/|plus|minus|times|divided by) ?(\d+) ?(?:=|makes|and get) ?(\d+)"
)
HUMAN = {
    "+": re.compile(r"Add (?P<b>\d+) to (?P<a>\d+) to get (?P<v>\d+)\."),
    "-": re.compile(r"Take (?P<b>\d+) from (?P<a>\d+) to get (?P<v>\d+)\."),
    "*": re.compile(r"Multiply (?P<a>\d+) by (?P<b>\d+) to get (?P<v>\d+)\."),
    "/": re.compile(r"Divide (?P<a>\d+) by (?P<b>\d+) to get (?P<v>\d+)\."),
}
SIGN = {"plus": "+", "minus": "-", "times": "*", "divided by": "/"}


def equations_of(text):
    """(left, sign, right, stated value) of every step that a rationale writes."""
    found = []
    for step in split_steps(strip_answer_sentence(text)):
        if match := EQUATION.search(step):
            a, sign, b, v = match.groups()
            found.append((int(a), SIGN.get(sign, sign), int(b), int(v)))
        for sign, pattern in HUMAN.items():
            if match := pattern.fullmatch(step):
                found.append((int(match["a"]), sign, int(match["b"]), int(match["v"])))
    return found


def true_value(a, sign, b):
    return {"+": a + b, "-": a - b, "*": a * b, "/": a / b}[sign]


def read_story(question, times=operator.mul):
    """The answer, from the text alone: what happens to the person who is asked about.

    times: how products are taken.
    """
    name = re.search(r"does (\w+) have\?|Now (\w+) has how many", question)
    name = name[1] or name[2]
    now = None
    for sentence in re.findall(r"[^.?]+[.?]", question):
        numbers = [int(n) for n in re.findall(r"\d+", sentence)]
        if name not in sentence or not numbers:
            continue
        amount = times(*numbers) if "bags" in sentence else numbers[0]
        if now is None:
            now = amount
        elif "times as many" in sentence:
            now = times(now, amount)
        elif "equal parts" in sentence:
            assert now % amount == 0
            now //= amount
        else:
            now += -amount if re.search("gives|loses", sentence) else amount
    return now


def amounts(stem, misread=False):
    """Name -> how many, and how many steps it took in all: the story, sentence by sentence.

    misread: products are read as sums.
    """
    have, steps = {}, 0
    times = operator.add if misread else operator.mul
    for sentence in re.findall(r"[^.?]+\.", stem):
        name = re.match(r"\s*(?:Then )?(\w+)", sentence)[1]
        numbers = [int(n) for n in re.findall(r"\d+", sentence)]
        amount = times(*numbers) if "bags of" in sentence else numbers[0]
        steps += ("bags of" in sentence) + (name in have)
        if name not in have:
            have[name] = amount
        elif "times as many" in sentence:
            have[name] = times(have[name], amount)
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
    last = re.search(r"[^.]*\?$", stem)[0]
    if not choices:
        first, second = [n for n in re.findall(r"[A-Z][a-z]+", last) if n in have]
        more, less = have[first] > have[second], have[first] < have[second]
        return "yes" if (less if " less " in last else more) else "no"
    assert choices == [*have, "both"]
    best = [name for name in have if have[name] == max(have.values())]
    return "ABC"[choices.index("both" if len(best) == 2 else best[0])]


@cache
def sample(problem, size=300, seed=5, part="questions", within="train"):
    """Problems of a generator; part: "questions", or a task of those beyond them."""
    generator = GENERATORS[problem]
    stream = generator.questions if part == "questions" else generator.further[part]
    return tuple(islice(stream(random.Random(seed), within), size))
