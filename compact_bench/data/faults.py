"""How the written-down teachers word a solution."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from compact_bench.data.answers import (
    canonical,
    pieces,
    rationale_answer,
    same_answer,
    step_spans,
    strip_answer_sentence,
)
from compact_bench.data.numerals import (
    Numeral,
    is_result,
    numerals,
    question_numbers,
    true_values,
    written_like,
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


@dataclass(frozen=True)
class Case:
    """One rationale to spoil, and what its question is.

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


Spoilt = tuple[str, str | None]  # text and answer


def parts(text: str) -> tuple[str, str]:
    """(body, closing answer sentence with the space before it) of a text without outer spaces."""
    whole = text.strip()
    body = strip_answer_sentence(whole)
    return body, whole[len(body) :]


def closed(body: str, tail: str, kind: str, answer: str) -> str | None:
    """A text that says `answer`: with its own closing sentence if that does, else with a new one.

    None where even that leaves it saying another one.
    """
    for text in (body + tail, f"{body} The answer is {answer}".strip()):
        if rationale_answer(text, kind) == answer:
            return text
    return None


def wrong_value(case: Case, rng: random.Random, taken: Sequence[str | None] = ()) -> str | None:
    """A wrong answer that isn't the rationale's own, nor one of `taken` where that is possible.

    None where the kind of answer has no such value.
    """
    if case.kind == "boolean":
        found = ["no" if case.gold == "yes" else "yes"]
    elif case.kind == "choice":
        found = list(LETTERS[: len(parse_choices(case.question)[1]) or len(LETTERS)])
        rng.shuffle(found)
    elif case.kind == "number":
        base = Fraction(case.answer or case.gold)
        values = [base + amount for amount in rng.sample(AMOUNTS, len(AMOUNTS))]
        right = true_values(case.text)
        found = [str(v) for v in values if v not in right and (v > 0 or base <= 0)]
    else:
        return None
    own = (case.gold, case.answer)
    wrong = [v for v in found if not any(same_answer(v, o, case.kind) for o in own)]
    wrong.sort(key=lambda v: any(same_answer(v, other, case.kind) for other in taken))
    return canonical(wrong[0], case.kind) if wrong else None


def wrong_answer(case: Case, rng: random.Random) -> Spoilt | None:
    """Another final answer, wrong, also where the last steps already write it."""
    return _ending_in(case, wrong_value(case, rng))


def wrong_majority(case: Case, rng: random.Random) -> Spoilt | None:
    """The wrong answer that is agreed on; None for a rationale that gives it already."""
    return None if case.agreed == case.answer else _ending_in(case, case.agreed)


def _ending_in(case: Case, wrong: str | None) -> Spoilt | None:
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
    text = closed(body, tail, case.kind, wrong)
    return (text, wrong) if text else None


def _rewritten(step: str, case: Case, wrong: str) -> str:
    """A step with `wrong` wherever it writes the rationale's answer as a result."""
    if case.kind == "number":
        given = question_numbers(case.question)
        for number in reversed(numerals(step)):
            if number.value == Fraction(str(case.answer)) and is_result(step, number, given, True):
                step = _replaced(step, number, Fraction(wrong))
        return step
    if case.kind == "boolean":
        return _TRUTH_WORD.sub(lambda word: _other_truth(word[0], case.answer), step)
    old, new = (case.answer or "", wrong)
    step = re.sub(_LETTER.format(letter=old), new, step)
    step = re.sub(rf"(\bis:?\s+){old}\b", rf"\g<1>{new}", step)
    named = dict(zip(LETTERS, parse_choices(case.question)[1], strict=False))
    if named.get(old) and named.get(new):
        step = re.sub(rf"\b{re.escape(named[old])}\b", lambda _: named[new], step, flags=re.I)
    return step


def _replaced(text: str, number: Numeral, value: Fraction) -> str:
    return text[: number.start] + written_like(value, number.text) + text[number.end :]


def _other_truth(word: str, answer: str | None) -> str:
    """ "False" for "True", case kept, where that is how the answer is written."""
    if canonical(word, "boolean") != answer:
        return word
    other = _TRUTH[word.lower()]
    return other if word[0].isupper() else other.lower()


def wrong_step(case: Case, rng: random.Random) -> Spoilt | None:
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
    text = closed(change, tail, case.kind, case.answer) if change else None
    return (text, case.answer) if text else None


def _wrong_number(
    body: str, spans: Sequence[tuple[int, int]], case: Case, rng: random.Random
) -> str | None:
    given = question_numbers(case.question)
    finals: set[Fraction] = set()
    if case.kind == "number":
        finals = {Fraction(case.gold), Fraction(str(case.answer))}
    found = []
    for start, end in spans:
        step = body[start:end]
        marker = _MARKER.match(step)
        for number in numerals(step):
            listed = marker is not None and number.start < marker.end()
            result = is_result(step, number, given) or case.kind != "number"
            if result and not listed and number.value not in finals:
                found.append((start, step, number))
    rng.shuffle(found)
    for start, step, number in found:
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


def shuffled_steps(case: Case, rng: random.Random) -> Spoilt | None:
    """The same steps in another order; the last one, to which all lead, always moves."""
    body, tail = parts(case.text)
    spans = step_spans(body)
    steps = [body[start:end] for start, end in spans]
    marks = [_MARKER.match(step) for step in steps]
    ends = [mark.end() if mark else 0 for mark in marks] if all(marks) else [0] * len(steps)
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
    kept = closed(text, tail, case.kind, case.answer)
    return (kept, case.answer) if kept else None


def filler(case: Case, rng: random.Random) -> Spoilt | None:
    """Sentences without content in place of all steps, about as long as they were."""
    body, tail = parts(case.text)
    wanted = pieces(body)
    if case.answer is None or not wanted:
        return None
    said: list[str] = []
    used: Counter[str] = Counter()
    while fit := [s for s in CONTENT_FREE if pieces(s) <= wanted - pieces(" ".join(said))]:
        said.append(min(fit, key=lambda sentence: (used[sentence], rng.random())))
        used[said[-1]] += 1
    text = " ".join(said) or min(CONTENT_FREE, key=pieces)
    kept = closed(text, tail if tail[:1].isspace() else f" {tail}", case.kind, case.answer)
    return (kept, case.answer) if kept else None


def other_question(case: Case, rng: random.Random) -> Spoilt | None:
    """The same teacher's rationale for another question, nearest in length, with its answer."""
    for text, answer in case.others:
        wrong = answer is not None and not same_answer(answer, case.gold, case.kind)
        if wrong and text != case.text:
            return text, answer
    return None


# Each takes a case and a random state, and returns None where it can't apply.
FAULTS: Mapping[str, Callable[[Case, random.Random], Spoilt | None]] = {
    "wrong_majority": wrong_majority,
    "wrong_answer": wrong_answer,
    "wrong_step": wrong_step,
    "shuffled_steps": shuffled_steps,
    "filler": filler,
    "other_question": other_question,
}
