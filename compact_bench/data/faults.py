"""Faults that a rationale is given on purpose: a wrong answer or step, filler, and others."""

from __future__ import annotations

import ast
import operator
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from compact_bench.data.answers import (
    canonical,
    exact_text,
    pieces,
    rationale_answer,
    same_answer,
    step_spans,
    strip_answer_sentence,
)
from compact_bench.data.splits import LETTERS, parse_choices

FILLER = (
    "Let us think about this step by step.",
    "We look at the numbers and see what is going on.",
    "This is not hard if we take our time.",
    "We do it with care and then check it again.",
    "So we go on and see how many there are.",
    "Now we know what to do here.",
)

AMOUNTS = (-10, -5, -3, -2, -1, 1, 2, 3, 5, 10)  # what is added to a number that is to be wrong

# Short ones too, of the same words: the student of the generated problems knows no others.
CONTENT_FREE = (*FILLER, "We go on.", "Let us see.", "Now we see.", "Now we check it again.")

# How a step starts where all steps of a text start so: it says the place, not the content.
_MARKER = re.compile(
    r"(?:\(?(?:[0-9]{1,2}|[a-zA-Z])[.)]|(?:Step|step) [0-9]+[.:]?"
    r"|First|Second|Third|Fourth|Then|Next|Finally|Lastly),?\s+"
)

_TRUTH = {"true": "False", "false": "True", "yes": "No", "no": "Yes"}

# "no" is an answer before a comma or at an end; elsewhere ("no evidence") it is a word.
_TRUTH_WORD = re.compile(r"\b(?:true|false)\b|\b(?:yes|no)\b(?=\s*(?:[,.;!]|$))", re.IGNORECASE)

_CLAIM = re.compile(r"\b(is|are|was|were|can|could|will|would|should|must)( ?not)?\b")
_LETTER = r"(?:(?<=\()|(?<=option )|(?<=choice )|(?<=answer ))({letter})\b"


# Whole numbers only: not the 4 of 1,450, of 3.4, of 12:40, of 4th or of step 4.
_NUMERAL = re.compile(
    r"(?<![\w.])(?<![0-9][,:])(?<![Ss]tep )(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?"
    r"(?![0-9]|[.,:][0-9]|(?:st|nd|rd|th)\b)"
)

_SIGNS = {"×": "*", "÷": "/", "−": "-", "plus": "+", "minus": "-", "times": "*", "divided by": "/"}
_SIGN_WORD = re.compile(r"×|÷|−|\b(?:plus|minus|times|divided by)\b|(?<=[0-9)] )x(?= [0-9($])")
_OPERAND_AFTER = re.compile(r"(?:[-+*/×÷−^]|\bx|\b(?:plus|minus|times|by))\s*[$€£]?\s*\(?\s*\Z")

_OPERAND_BEFORE = re.compile(
    r"(?:\s+[a-z]+){0,2}?\s*%?\s*\)?\s*(?:[-+*/×÷−^=]|x\s|\b(?:plus|minus|times|divided)\b)"
)

_RESULT_AFTER = re.compile(
    r"(?:=|≈|\b(?:makes?|equals?|gets?|gives?|leaves?|totals?))\s*(?:about\s+)?[$€£]?\s*\Z"
)

_COPULA_AFTER = re.compile(r"\b(?:is|are|was|were|be):?\s*(?:about\s+)?[$€£]?\s*\Z")

# "60 chairs - 11 chairs": what is counted, before a sign.
_UNIT = re.compile(r"(?<=[0-9)])(?:\s+[a-z]+(?:/[a-z]+)?){1,3}(?=\s*[-+*/)=])")

_SUM = re.compile(r"[-+*/().0-9\s]+\Z")

_OPERATIONS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


@dataclass(frozen=True)
class Case:
    """One rationale to corrupt, and its question.

    others: (text, answer) of the same teacher for other questions, nearest in length first.
    agreed: the wrong answer that most teachers of the question are to give.
    """

    question: str
    gold: str
    kind: str
    text: str
    answer: str | None
    others: Iterable[tuple[str, str | None]] = ()
    agreed: str | None = None


Corrupted = tuple[str, str | None]  # text and answer


class Numeral(NamedTuple):
    """A number of a text: its offsets in characters, as it is written, and its value."""

    start: int
    end: int
    text: str
    value: Fraction


def numerals(text: str) -> list[Numeral]:
    """The numbers of a text in order, without signs; "1,450" and "3.5" are one number each."""
    return [
        Numeral(match.start(), match.end(), match[0], Fraction(match[0].replace(",", "")))
        for match in _NUMERAL.finditer(text)
    ]


def question_numbers(question: str) -> frozenset[Fraction]:
    """The values that a question gives."""
    return frozenset(number.value for number in numerals(question))


def is_result(step: str, number: Numeral, given: Set[Fraction], final: bool = False) -> bool:
    """Whether a number of a step was computed there, and not read off the question.

    It follows "=" or a word like it, or the question doesn't give it; an operand never is one.
    final: "is" and "are" count too, as in "so the rest is 5" (but not in "there are 5 of them",
    which may repeat the question).
    """
    before, after = step[: number.start], step[number.end :]
    if _OPERAND_AFTER.search(before) or _OPERAND_BEFORE.match(after):
        return False
    if _RESULT_AFTER.search(before) or (final and _COPULA_AFTER.search(before)):
        return True
    return number.value not in given


def true_values(text: str) -> frozenset[Fraction]:
    """What the sums before each "=" or "makes" of a text really come to.

    >>> sorted(map(int, true_values("First 7 plus 5 makes 13. 2 * (3 + 4) = 14")))
    [12, 14]
    """
    plain = _SIGN_WORD.sub(lambda sign: _SIGNS.get(sign[0], "*"), text)
    plain = _UNIT.sub("", re.sub(r"(?<=[0-9]),(?=[0-9]{3})|[$€£]", "", plain))
    values = set()
    for equals in re.finditer(r"=|\bmakes\b|\band get\b", plain):
        before = _SUM.search(plain[max(0, equals.start() - 200) : equals.start()])
        if before and (value := _sum_value(re.split(r"\.\s", before[0])[-1].strip())) is not None:
            values.add(value)
    return frozenset(values)


def _sum_value(expression: str) -> Fraction | None:
    """The value of a sum, None for what isn't one ("3) + 4", "5 / 0", "+ 4" of "x + 4", "7")."""

    def walk(node: ast.expr) -> Fraction:
        if isinstance(node, ast.BinOp):
            return _OPERATIONS[type(node.op)](walk(node.left), walk(node.right))
        if isinstance(node, ast.Constant):
            return Fraction(str(node.value))
        raise ValueError(f"{type(node).__name__} is no sum")

    # Python takes no leading zeros ("007"), and "**" and "//" are no signs of a rationale.
    plain = re.sub(r"(?<![0-9.])0+(?=[0-9])", "", expression)
    try:
        tree = ast.parse(plain, mode="eval").body
        return walk(tree) if isinstance(tree, ast.BinOp) else None
    except (SyntaxError, ValueError, KeyError, ZeroDivisionError):
        return None


def written_like(value: Fraction, like: str) -> str:
    """A value as another number is written: with its commas, and at least its decimals.

    >>> written_like(Fraction(1451), "1,450"), written_like(Fraction(7), "6.50")
    ('1,451', '7.00')
    """
    exact = exact_text(value)
    if "/" in exact:
        return exact
    places = max(len(text.partition(".")[2]) for text in (exact, like))
    return f"{Decimal(exact):{',' if ',' in like else ''}.{places}f}"


def parts(text: str) -> tuple[str, str]:
    """(body, closing answer sentence with the space before it) of a text without outer spaces."""
    whole = text.strip()
    body = strip_answer_sentence(whole)
    return body, whole[len(body) :]


def closed(body: str, tail: str, kind: str, answer: str) -> Corrupted | None:
    """The text that ends in `answer`: with its own closing sentence, or else with a new one.

    None where another answer is extracted even then.
    """
    for text in (body + tail, f"{body} The answer is {answer}".strip()):
        if rationale_answer(text, kind) == answer:
            return text, answer
    return None


def wrong_value(case: Case, rng: random.Random, taken: Sequence[str | None] = ()) -> str | None:
    """A wrong answer that isn't the rationale's own, nor one of `taken` where that is possible.

    None where the kind of answer has no such value.
    """
    if case.kind == "boolean":
        values = ["no" if case.gold == "yes" else "yes"]
    elif case.kind == "choice":
        values = list(LETTERS[: len(parse_choices(case.question)[1]) or len(LETTERS)])
        rng.shuffle(values)
    elif case.kind == "number":
        base = Fraction(case.answer or case.gold)
        sums = [base + amount for amount in rng.sample(AMOUNTS, len(AMOUNTS))]
        right = true_values(case.text)
        values = [str(v) for v in sums if v not in right and (v > 0 or base <= 0)]
    else:
        return None
    own = (case.gold, case.answer)
    wrong = [v for v in values if not any(same_answer(v, o, case.kind) for o in own)]
    wrong.sort(key=lambda v: any(same_answer(v, other, case.kind) for other in taken))
    return canonical(wrong[0], case.kind) if wrong else None


def wrong_answer(case: Case, rng: random.Random) -> Corrupted | None:
    """Another final answer, wrong, also where the last steps already write it."""
    return _ending_in(case, wrong_value(case, rng))


def wrong_majority(case: Case, rng: random.Random) -> Corrupted | None:
    """The wrong answer that is agreed on; None for a rationale that gives it already."""
    return None if case.agreed == case.answer else _ending_in(case, case.agreed)


def _ending_in(case: Case, wrong: str | None) -> Corrupted | None:
    """The rationale with another answer; earlier steps than the last that write it stay."""
    if wrong is None:
        return None
    body, tail = parts(case.text)
    if case.answer is not None:
        for start, end in reversed(step_spans(body)):
            step = _rewritten(body[start:end], case, wrong)
            if step == body[start:end]:
                break
            body = body[:start] + step + body[end:]
        tail = _rewritten(tail, case, wrong)
    return closed(body, tail, case.kind, wrong)


def _rewritten(step: str, case: Case, wrong: str) -> str:
    """A step with `wrong` wherever it writes the rationale's answer as a result."""

    def other_truth(match: re.Match[str]) -> str:
        word = match[0]
        if canonical(word, "boolean") != case.answer:
            return word
        other = _TRUTH[word.lower()]
        return other if word[0].isupper() else other.lower()

    if case.kind == "number":
        given = question_numbers(case.question)
        for number in reversed(numerals(step)):
            if number.value == Fraction(str(case.answer)) and is_result(step, number, given, True):
                step = _replaced(step, number, Fraction(wrong))
        return step
    if case.kind == "boolean":
        return _TRUTH_WORD.sub(other_truth, step)
    old, new = (case.answer or "", wrong)
    step = re.sub(_LETTER.format(letter=old), new, step)
    step = re.sub(rf"(\bis:?\s+){old}\b", rf"\g<1>{new}", step)
    named = dict(zip(LETTERS, parse_choices(case.question)[1], strict=False))
    if named.get(old) and named.get(new):
        step = re.sub(rf"\b{re.escape(named[old])}\b", lambda _: named[new], step, flags=re.I)
    return step


def _replaced(text: str, number: Numeral, value: Fraction) -> str:
    return text[: number.start] + written_like(value, number.text) + text[number.end :]


def wrong_step(case: Case, rng: random.Random) -> Corrupted | None:
    """Another intermediate result in one step before the last; nothing else is changed.

    For answers that are no numbers: another number, or else a claim turned into its opposite.
    """
    body, tail = parts(case.text)
    if case.answer is None or case.kind == "expression":
        return None
    spans = step_spans(body)[:-1]
    change = _wrong_number(body, spans, case, rng)
    if change is None and case.kind != "number":
        change = _opposite(body, spans, rng)
    return closed(change, tail, case.kind, case.answer) if change else None


def _wrong_number(
    body: str, spans: Sequence[tuple[int, int]], case: Case, rng: random.Random
) -> str | None:
    given = question_numbers(case.question)
    finals: set[Fraction] = set()
    if case.kind == "number":
        finals = {Fraction(case.gold), Fraction(str(case.answer))}
    results = []
    for start, end in spans:
        step = body[start:end]
        marker = _MARKER.match(step)
        for number in numerals(step):
            listed = marker is not None and number.start < marker.end()
            result = is_result(step, number, given) or case.kind != "number"
            if result and not listed and number.value not in finals:
                results.append((start, step, number))
    rng.shuffle(results)
    for start, step, number in results:
        # Neither an answer nor what the step's own sum really comes to.
        barred = finals | true_values(step) | {number.value}
        for amount in rng.sample(AMOUNTS, len(AMOUNTS)):
            value = number.value + amount
            if value > 0 and value not in barred:
                wrong = _replaced(step, number, value)
                return body[:start] + wrong + body[start + len(step) :]
    return None


def _opposite(body: str, spans: Sequence[tuple[int, int]], rng: random.Random) -> str | None:
    """A text with one claim before the last step negated, or its negation dropped."""
    claims = [
        (start + match.start(), start + match.end(), match)
        for start, end in spans
        for match in _CLAIM.finditer(body[start:end])
    ]
    if not claims:
        return None
    start, end, match = rng.choice(claims)
    negated = "cannot" if match[1] == "can" else f"{match[1]} not"
    return body[:start] + (match[1] if match[2] else negated) + body[end:]


def _content_starts(steps: Sequence[str]) -> list[int]:
    """Where the content of each step begins: after its marker, where all steps have one."""
    marks = [_MARKER.match(step) for step in steps]
    return [mark.end() if mark else 0 for mark in marks] if all(marks) else [0] * len(steps)


def shuffled_steps(case: Case, rng: random.Random) -> Corrupted | None:
    """The same steps in another order; the last one, to which all lead, always moves."""
    body, tail = parts(case.text)
    spans = step_spans(body)
    steps = [body[start:end] for start, end in spans]
    ends = _content_starts(steps)
    contents = [step[end:] for step, end in zip(steps, ends, strict=True)]
    movable = [i for i, content in enumerate(contents) if content != contents[-1]]
    if case.answer is None or not movable:
        return None
    last = contents.pop(rng.choice(movable))
    rng.shuffle(contents)
    contents.append(last)
    between = [body[a:b] or " " for (_, a), (b, _) in pairwise(spans)]
    moved = [step[:end] + content for step, end, content in zip(steps, ends, contents, strict=True)]
    text = "".join(part for pair in zip(moved, [*between, ""], strict=True) for part in pair)
    return closed(text, tail, case.kind, case.answer)


def filler(case: Case, rng: random.Random) -> Corrupted | None:
    """Sentences without content in place of all steps, about as long as they were."""
    body, tail = parts(case.text)
    wanted = pieces(body)
    if case.answer is None or not wanted:
        return None
    sentences: list[str] = []
    used: Counter[str] = Counter()
    while fit := [s for s in CONTENT_FREE if pieces(s) <= wanted - pieces(" ".join(sentences))]:
        sentences.append(min(fit, key=lambda sentence: (used[sentence], rng.random())))
        used[sentences[-1]] += 1
    text = " ".join(sentences) or min(CONTENT_FREE, key=pieces)
    return closed(text, tail if tail[:1].isspace() else f" {tail}", case.kind, case.answer)


def skipped_steps(case: Case, rng: random.Random) -> Corrupted | None:
    """The last step alone, the one that comes to the answer; it is marked as a first one is."""
    body, tail = parts(case.text)
    steps = [body[start:end] for start, end in step_spans(body)]
    if case.answer is None or len(steps) < 2:
        return None
    starts = _content_starts(steps)
    last = steps[0][: starts[0]] + steps[-1][starts[-1] :]
    return closed(last, tail, case.kind, case.answer)


LONG_WINDED = 3  # times as long, in pieces, as long as the shortest sentence fits


def long_winded(case: Case, rng: random.Random) -> Corrupted | None:
    """Every step said twice, with sentences without content around it: 2 to 3 times as long."""
    body, tail = parts(case.text)
    spans = step_spans(body)
    if case.answer is None or not spans:
        return None
    room = 0  # in pieces, for the sentences
    said, place = "", 0
    for start, end in spans:
        step = body[start:end]
        room += (LONG_WINDED - 2) * pieces(step)
        sentences = []
        for _ in range(2):
            fit = [sentence for sentence in CONTENT_FREE if pieces(sentence) <= room]
            sentences.append(rng.choice(fit) + " " if fit else "")
            room -= pieces(sentences[-1])
        said += f"{body[place:start]}{sentences[0]}{step} {sentences[1]}{step}"
        place = end
    return closed(said + body[place:], tail, case.kind, case.answer)


def other_question(case: Case, rng: random.Random) -> Corrupted | None:
    """The same teacher's rationale for another question, nearest in length, with its answer."""
    for text, answer in case.others:
        wrong = answer is not None and not same_answer(answer, case.gold, case.kind)
        if wrong and text != case.text:
            return text, answer
    return None


# Each takes a case and a random state, changes the text alone, and returns None where it can't.
FAULTS: Mapping[str, Callable[[Case, random.Random], Corrupted | None]] = {
    "wrong_majority": wrong_majority,
    "wrong_answer": wrong_answer,
    "wrong_step": wrong_step,
    "shuffled_steps": shuffled_steps,
    "filler": filler,
    "other_question": other_question,
    "skipped_steps": skipped_steps,
    "long_winded": long_winded,
}

# These need the steps of the solution, which only generated problems have.
GRAPH_FAULTS = ("misread", "one_expression", "other_order")
