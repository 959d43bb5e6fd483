"""Generated word problems with a known solution graph: stories, and comparisons of two people."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from compact_bench.data.splits import question_hash, without_numbers, write_choices

NAMES = (
    "Ann", "Ben", "Cara", "Dan", "Eve", "Finn", "Gina", "Hugo", "Ida", "Jack", "Kate", "Leo",
    "Mia", "Nils", "Olga", "Paul", "Rosa", "Sam", "Tina", "Uma", "Vera", "Will", "Yara", "Zoe",
)  # fmt: skip

NOUNS = (
    "apples", "pens", "books", "coins", "cards", "shells", "stamps", "marbles", "eggs", "cups",
    "balls", "stones",
)  # fmt: skip

LARGEST = 50  # every number and every intermediate value is in 1..50
LARGEST_COMPARED = 30  # of a number that is compared as the story gives it
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

# Which last digit of a question's SHA-256 belongs to which set. What is trained and tested goes by
# the question without its numbers, so that no test question is a training question with others.
BY_STORY = {"dev": (0,), "test": (1,), "train": tuple(range(2, 10))}
# By the whole question, as when the shipped student was made.
BY_QUESTION = {"forgetting": (2,), "pretraining": (7, 8, 9)}


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


def belongs(question: str, within: str) -> bool:
    """Whether a question may be in a set, whatever the seed that produced it.

    within: a name of `BY_STORY` or of `BY_QUESTION`; the sets of either exclude each other.
    """
    whole = within in BY_QUESTION
    digit = int(question_hash(question if whole else without_numbers(question)), 16) % 10
    return digit in (BY_QUESTION if whole else BY_STORY)[within]


def graph(
    start: Event, events: tuple[Event, ...], owner: str = "", before: int = 0
) -> tuple[SolutionStep, ...]:
    """Solution steps of a story: bags are multiplied out just before they are added.

    before: how many steps stand before them.
    """
    steps: list[SolutionStep] = []

    def put(op: str, left: Term, right: Term) -> Term:
        steps.append(SolutionStep(op, left, right, owner))
        return Term("step", before + len(steps) - 1)

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
            in_range = all(1 <= value <= LARGEST for value in evaluate(steps))
            if steps != graph(start, events) and in_range:
                return steps
    return None


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


Story = tuple[Event, tuple[Event, ...]]  # how it starts, and what happens then


def story(rng: random.Random, steps: int) -> Story | None:
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
    """The sentences of a story, in order; the distractor is a quantity that doesn't matter."""
    amount = f"{start.x} bags of {start.y}" if start.op == "bags" else str(start.x)
    sentences = [f"{name} has {amount} {noun}."]
    for event in events:
        wording = rng.choice(WORDING[event.op])
        sentences.append(wording.format(name=name, x=event.x, y=event.y))
    if distractor:
        other = rng.choice([n for n in NAMES if n != name])
        place = rng.randint(0, len(sentences))
        sentences.insert(place, f"{other} has {rng.randint(2, 15)} {noun}.")
    return sentences


Template = Callable[[list[str], str, str], str]  # a question from its sentences, name and noun


def trained_template(sentences: list[str], name: str, noun: str) -> str:
    """A story sentence by sentence, the question last: what all students here are trained on."""
    return " ".join([*sentences, f"How many {noun} does {name} have?"])


def new_template(sentences: list[str], name: str, noun: str) -> str:
    """The same in a form that no student is trained on: other openings, another question.

    Nearer to the trained form than it could be: the nano student, trained on the one, is right on
    5% where the question stands first or the story is one sentence, as it is before training.
    """
    first = next(i for i, sentence in enumerate(sentences) if sentence.startswith(f"{name} "))
    later = [
        f"Then {sentence}" if sentence.startswith(f"{name} ") and index > first else sentence
        for index, sentence in enumerate(sentences)
    ]
    return " ".join([*later, f"Now {name} has how many {noun}?"])


def problems(rng: random.Random, within: str, steps: tuple[int, ...], *, distractor: bool = False,
             both_orders: bool = False,
             template: Template = trained_template) -> Iterator[Problem]:  # fmt: skip
    """Endless problems of one set, with repeats; `both_orders` keeps those with two orders."""
    while True:
        made = story(rng, rng.choice(steps))
        if made is None:
            continue
        solution = graph(*made)
        other = other_graph(*made)
        if both_orders and other is None:
            continue
        question = ""
        while not question or not belongs(question, within):  # the same story in other words
            name, noun = rng.choice(NAMES), rng.choice(NOUNS)
            question = template(clauses(rng, *made, name, noun, distractor), name, noun)
        yield Problem(question, solution, other or solution, name, noun)


class QuestionForm(NamedTuple):
    """How two people are compared: the question, and its answers by outcome (SAME, FIRST, SECOND).

    choices: whether the two names and "both" are listed, always in the story's order, and no more
    of them: the nano student can't find a name's letter among shuffled choices, in 200 questions
    it learns one letter for all.
    """

    wording: str
    answers: tuple[str, str, str]
    choices: bool = False


# Nobody is trained on the second form of each kind.
MORE_YES_NO = QuestionForm("Does {first} have more {noun} than {second}?", ("no", "yes", "no"))
LESS_YES_NO = MORE_YES_NO._replace(wording="Is it true: {second} has less {noun} than {first}?")
WHO_HAS_MORE = QuestionForm("Who has more {noun}?", ("C", "A", "B"), choices=True)
WHO_HAS_MOST = WHO_HAS_MORE._replace(wording="Which of both has the most {noun}?")


def comparisons(
    rng: random.Random, within: str, form: QuestionForm, outcomes: tuple[int, ...], steps: int = 1
) -> Iterator[Problem]:
    """Endless comparisons of one set, with repeats.

    outcomes: drawn from alike, so that answers are as balanced as these. steps: of both people
    together; one step is the first one's or the second one's.
    """
    shares = (steps // 2, steps - steps // 2)
    while True:
        wanted, outcome = rng.choice(outcomes), -1
        while outcome != wanted:
            first, second = (_person_story(rng, share) for share in rng.sample(shares, 2))
            outcome = evaluate(_comparison(first, second, list(NAMES[:2])))[-1]
        question = ""
        while not question or not belongs(question, within):  # the same stories in other words
            names, noun = rng.sample(NAMES, 2), rng.choice(NOUNS)
            stories = [*clauses(rng, *first, names[0], noun, False),
                       *clauses(rng, *second, names[1], noun, False)]  # fmt: skip
            last = form.wording.format(first=names[0], second=names[1], noun=noun)
            question = " ".join([*stories, last])
            if form.choices:
                question = write_choices(question, [*names, "both"])
        steps_in_order = _comparison(first, second, names)
        other_order = _comparison(first, second, names, swapped=True)
        yield Problem(question, steps_in_order, other_order, names[0], noun, form.answers)


def _person_story(rng: random.Random, steps: int) -> Story:
    if not steps:
        return Event("has", rng.randint(2, LARGEST_COMPARED)), ()
    while True:
        if made := story(rng, steps):
            return made


def _comparison(first: Story, second: Story, names: list[str],
                swapped: bool = False) -> tuple[SolutionStep, ...]:  # fmt: skip
    """The steps of one, those of the other, and the comparison of the first's to the second's.

    swapped: the second one's steps come first; the comparison reads the same two results.
    """
    steps: list[SolutionStep] = []
    ends: dict[str, Term] = {}
    people = [(names[0], first), (names[1], second)]
    for name, (start, events) in reversed(people) if swapped else people:
        own = graph(start, events, name, len(steps))
        steps += own
        ends[name] = Term("step", len(steps) - 1) if own else Term("number", start.x)
    return (*steps, SolutionStep(COMPARE, ends[names[0]], ends[names[1]]))
