"""A rule a child could follow instead of reading the question: how much of a test it solves."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction

from compact_bench.api import Distiller, Run

Rule = Callable[[str, Sequence[str]], str]  # (question without choices, choices) -> answer


class Heuristic(Distiller):
    """answer = rule(question), the rule of the highest accuracy on the training questions.

    number: one of NUMBER_RULES over the numbers of the question. boolean: the answer that most
    training questions have. choice: the choice that shares most words with the question, or the
    letter that is right most often. Of equally good rules the first listed is taken. There is no
    student: nothing is trained, no token is read, and the forgetting tasks, which ask what a
    student knew, are left out.

    A test set that a rule solves in part measures that part of reasoning badly: "the difference
    of the last two numbers" is right on a quarter of SVAMP's test questions.
    """

    name = "heuristic"
    version = 1
    reference = "none"
    uses_gold = True
    seeded = False

    def __init__(self, config=None) -> None:
        super().__init__(config)
        self.rules: dict[str, Rule] = {}
        self.chosen: dict[str, str] = {}  # names of the rules, by kind of answer

    def skip(self, run: Run) -> str | None:
        """Skips kinds of answer without a rule."""
        kinds = set(run.bank.questions["kind"])
        unknown = sorted(kinds - {"number", "boolean", "choice"})
        return f"no rule for answers of the kind {', '.join(unknown)}" if unknown else None

    def select(self, bank, student):
        """Chooses a rule for each kind of answer; the bank stays, though nobody reads it."""
        by_kind: dict[str, list] = {}
        for question in bank.asked():
            by_kind.setdefault(question.kind, []).append(question)
        for kind, questions in by_kind.items():
            rules = candidates(kind, [question.answer for question in questions])
            right = {
                name: sum(same(rule(q.stem, q.choices), q.answer) for q in questions)
                for name, rule in rules.items()
            }
            self.chosen[kind] = max(right, key=right.__getitem__)
            self.rules[kind] = rules[self.chosen[kind]]
        return super().select(bank, student)

    def fit(self, trainer) -> None:
        """Trains nothing."""

    def answer(self, question: str, kind: str, choices: Sequence[str]) -> str | None:
        """The rule's answer; of a kind that no training question has, the first rule's."""
        rule = self.rules.get(kind) or next(iter(candidates(kind, ["yes"]).values()))
        return rule(question, choices)


def over_numbers(rule: Callable[[list[Fraction]], Fraction]) -> Rule:
    """A rule over the numbers of a question: one alone is the answer, and 0 where there is none."""

    def answer(question: str, choices: Sequence[str]) -> str:
        numbers = [Fraction(n.replace(",", "")) for n in re.findall(NUMBER, question)]
        value = rule(numbers) if len(numbers) > 1 else numbers[0] if numbers else Fraction(0)
        return str(value if value.denominator == 1 else float(value))

    return answer


def most_words(question: str, choices: Sequence[str]) -> str:
    """The letter of the choice with most words of the question, the first of several."""
    words = set(re.findall(r"\w+", question.lower()))
    shared = [len(words & set(re.findall(r"\w+", choice.lower()))) for choice in choices]
    return LETTERS[shared.index(max(shared))] if shared else LETTERS[0]


NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
LETTERS = "ABCDEFGHIJ"
NUMBER_RULES: dict[str, Rule] = {
    "last number": over_numbers(lambda n: n[-1]),
    "difference of the last two": over_numbers(lambda n: abs(n[-2] - n[-1])),
    "sum of the last two": over_numbers(lambda n: n[-2] + n[-1]),
    "product of the last two": over_numbers(lambda n: n[-2] * n[-1]),
    "quotient of the last two": over_numbers(lambda n: n[-2] / n[-1] if n[-1] else n[-2]),
    "sum of all": over_numbers(lambda n: sum(n, Fraction(0))),
    "difference of the first two": over_numbers(lambda n: abs(n[0] - n[1])),
    "largest minus smallest": over_numbers(lambda n: max(n) - min(n)),
}


def candidates(kind: str, answers: Sequence[str]) -> dict[str, Rule]:
    """The rules for a kind of answer by name; answers: of the training questions."""
    if kind == "number":
        return NUMBER_RULES
    often = Counter(answers).most_common(1)[0][0]
    constant: dict[str, Rule] = {f"always {often}": lambda question, choices: often}
    return constant if kind == "boolean" else {"most words": most_words, **constant}


def same(answer: str, gold: str) -> bool:
    """Whether an answer is the gold one: numbers by value."""
    try:
        return Fraction(answer) == Fraction(gold)
    except (ValueError, ZeroDivisionError):
        return answer == gold
