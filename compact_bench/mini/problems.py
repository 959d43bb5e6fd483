"""Grade-school word problems whose solution graph is known, for the `mini` profile."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from compact_bench.data.splits import question_hash

NAMES = (
    "Ann", "Ben", "Cara", "Dan", "Eve", "Finn", "Gina", "Hugo", "Ida", "Jack", "Kate", "Leo",
    "Mia", "Nils", "Olga", "Paul", "Rosa", "Sam", "Tina", "Uma", "Vera", "Will", "Yara", "Zoe",
)  # fmt: skip

NOUNS = (
    "apples", "pens", "books", "coins", "cards", "shells", "stamps", "marbles", "eggs", "cups",
    "balls", "stones",
)  # fmt: skip

LARGEST = 50  # every number and every intermediate value is in 1..50

COMPARE = "compare"  # the operation whose value says which of two numbers is larger

SAME, FIRST, SECOND = range(3)  # its values

SYMBOL = {"add": "+", "sub": "-", "mul": "*", "div": "/"}

ADDITIVE = ("add", "sub", "bags")  # these events commute with each other

# Several wordings of one event, so that the student reads the operation and not one verb.
WORDING = {
    "add": ("{name} buys {x} more.", "{name} finds {x} more."),
    "sub": ("{name} gives away {x}.", "{name} loses {x}."),
    "mul": ("Then {name} has {x} times as many.",),
    "div": ("{name} keeps one of {x} equal parts.",),
    "bags": ("{name} buys {x} bags of {y}.",),
}

# How often an event is tried: many divisions and subtractions don't come out and are dropped.
LIKELY = {"add": 2, "sub": 4, "mul": 3, "div": 8, "bags": 2}

# Which last digit of the question's SHA-256 belongs to which set. Digit 0 is dev everywhere.
BUCKETS = {"dev": (0,), "test": (1,), "forgetting": (2,), "train": (3, 4, 5, 6),
           "pretraining": (7, 8, 9)}  # fmt: skip


class Term(NamedTuple):
    """An operand: a number of the question, or the result of an earlier step."""

    kind: str  # "number" | "step"
    value: int  # the number, or the step's index


@dataclass(frozen=True)
class SolutionStep:
    """One node of the solution graph."""

    op: str
    left: Term
    right: Term
    owner: str = ""  # whose number it computes, where several people are in the story


class Event(NamedTuple):
    """Something that happens in the story; `y` only for bags, `x` bags of `y`."""

    op: str
    x: int
    y: int = 0


@dataclass(frozen=True)
class Problem:
    """A question with its solution graph in the story's order and in another valid order.

    answers: what the last step's value stands for, by value; none where it is itself the answer.
    """

    question: str
    steps: tuple[SolutionStep, ...]
    other_order: tuple[SolutionStep, ...]
    name: str
    noun: str
    answers: tuple[str, ...] = ()

    @property
    def answer(self) -> int | str:
        """The right answer."""
        return self.conclude(evaluate(self.steps)[-1])

    def conclude(self, value: int) -> int | str:
        """The answer that the last step's value stands for."""
        return self.answers[value] if self.answers else value


def apply(op: str, left: int, right: int) -> int:
    """Value of one operation; division is exact by construction, floored on faulty values."""
    if op == "div":
        return left // right
    if op == COMPARE:
        return SAME if left == right else FIRST if left > right else SECOND
    return {"add": left + right, "sub": left - right, "mul": left * right}[op]


def evaluate(steps: tuple[SolutionStep, ...], slip: tuple[int, int] | None = None) -> list[int]:
    """Values of all steps; `slip` = (step, amount) is added to that step's value and carries on."""
    values: list[int] = []
    for index, step in enumerate(steps):
        left, right = (term.value if term.kind == "number" else values[term.value]
                       for term in (step.left, step.right))  # fmt: skip
        value = apply(step.op, left, right)
        if slip and slip[0] == index:
            value = (value + slip[1]) % 3 if step.op == COMPARE else value + slip[1]
        values.append(value)
    return values


def bucket(question: str) -> str:
    """The set that a question belongs to, whatever the seed that produced it."""
    digit = int(question_hash(question), 16) % 10
    return next(name for name, digits in BUCKETS.items() if digit in digits)


def graph(start: Event, events: tuple[Event, ...]) -> tuple[SolutionStep, ...]:
    """Solution steps of a story: bags are multiplied out just before they are added."""
    steps: list[SolutionStep] = []

    def put(op: str, left: Term, right: Term) -> Term:
        steps.append(SolutionStep(op, left, right))
        return Term("step", len(steps) - 1)

    now = Term("number", start.x)
    if start.op == "bags":
        now = put("mul", now, Term("number", start.y))
    for event in events:
        amount = Term("number", event.x)
        if event.op == "bags":
            amount = put("mul", amount, Term("number", event.y))
        now = put("add" if event.op == "bags" else event.op, now, amount)
    return tuple(steps)


def other_graph(start: Event, events: tuple[Event, ...]) -> tuple[SolutionStep, ...] | None:
    """The same story solved in another valid order, or None if there is no other."""
    if start.op == "bags" and events and events[0].op == "bags":
        first, second, _, *rest = graph(start, events)
        total = SolutionStep("add", Term("step", 1), Term("step", 0))
        return (second, first, total, *rest)
    for i in range(len(events) - 1):
        if events[i].op in ADDITIVE and events[i + 1].op in ADDITIVE:
            swapped = (*events[:i], events[i + 1], events[i], *events[i + 2 :])
            steps = graph(start, swapped)
            if steps != graph(start, events) and _in_range(steps):
                return steps
    return None


def _in_range(steps: tuple[SolutionStep, ...]) -> bool:
    return all(1 <= value <= LARGEST for value in evaluate(steps))


def _event(rng: random.Random, now: int, room: int) -> Event | None:
    ops = [op for op in LIKELY if op != "bags" or room > 1]
    op = rng.choices(ops, [LIKELY[op] for op in ops])[0]
    if op == "bags":
        return Event(op, rng.randint(2, 4), rng.randint(2, 6))
    if op == "div":
        divisors = [d for d in range(2, 5) if now % d == 0 and now > d]
        return Event(op, rng.choice(divisors)) if divisors else None
    if op == "sub" and now < 4:
        return None
    top = {"add": 9, "sub": min(9, now - 1), "mul": 3}[op]
    return Event(op, rng.randint(2, top))


def story(rng: random.Random, steps: int) -> tuple[Event, tuple[Event, ...]] | None:
    """A random start and events that need exactly `steps` steps; None when it came to nothing."""
    bags = rng.random() < 0.25
    start = Event("bags", rng.randint(2, 4), rng.randint(2, 6)) if bags else Event(
        "has", rng.randint(2, 15))  # fmt: skip
    events: list[Event] = []
    now = start.x * max(start.y, 1)
    room = steps - bags
    while room:
        event = _event(rng, now, room)
        if event is None:
            return None
        events.append(event)
        room -= 2 if event.op == "bags" else 1
        now = apply("add", now, event.x * event.y) if event.op == "bags" else apply(
            event.op, now, event.x)  # fmt: skip
        if not 1 <= now <= LARGEST:
            return None
    # One multiplication or division at most, so that a problem isn't a tower of products.
    if sum(event.op in ("mul", "div") for event in events) > 1:
        return None
    return start, tuple(events)


def clauses(rng: random.Random, start: Event, events: tuple[Event, ...], name: str, noun: str,
            distractor: bool) -> list[str]:  # fmt: skip
    """What a story says, in its order; the distractor is a quantity that doesn't matter."""
    amount = f"{start.x} bags of {start.y}" if start.op == "bags" else str(start.x)
    said = [f"{name} has {amount} {noun}."]
    for event in events:
        wording = rng.choice(WORDING[event.op])
        said.append(wording.format(name=name, x=event.x, y=event.y))
    if distractor:
        other = rng.choice([n for n in NAMES if n != name])
        place = rng.randint(0, len(said))
        said.insert(place, f"{other} has {rng.randint(2, 15)} {noun}.")
    return said


def tell(said: list[str], name: str, noun: str) -> str:
    """A story sentence by sentence, the question last: what all students here are trained on."""
    return " ".join([*said, f"How many {noun} does {name} have?"])


def tell_anew(said: list[str], name: str, noun: str) -> str:
    """The same in a form that no student is trained on: other openings, another question.

    Nearer to the trained form than it could be: the nano student, trained on the one, is right on
    5% where the question stands first or the story is one sentence, as it is before training.
    """
    first = next(index for index, clause in enumerate(said) if clause.startswith(f"{name} "))
    later = [
        f"Then {clause}" if clause.startswith(f"{name} ") and index > first else clause
        for index, clause in enumerate(said)
    ]
    return " ".join([*later, f"Now {name} has how many {noun}?"])


Telling = Callable[[list[str], str, str], str]


def problems(rng: random.Random, steps: tuple[int, ...], within: str, *, distractor: bool = False,
             both_orders: bool = False, telling: Telling = tell) -> Iterator[Problem]:  # fmt: skip
    """Endless problems of one bucket, with repeats; `both_orders` keeps those with two orders."""
    while True:
        made = story(rng, rng.choice(steps))
        if made is None:
            continue
        ours = graph(*made)
        other = other_graph(*made)
        if both_orders and other is None:
            continue
        question = ""
        while not question or bucket(question) != within:  # the same story, told otherwise
            name, noun = rng.choice(NAMES), rng.choice(NOUNS)
            question = telling(clauses(rng, *made, name, noun, distractor), name, noun)
        yield Problem(question, ours, other or ours, name, noun)
