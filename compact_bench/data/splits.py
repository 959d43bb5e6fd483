"""Splits by question hash, and the check that no test question is trained on."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING

from compact_bench.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

# "Answer choices: A: bank, B: library" (training files) and "Answer Choices:\nA. bank\nB. library"
# (test files) of the same data set.
_CHOICES = re.compile(r"\s*Answer choices:\s*", re.IGNORECASE)

_OPTION = r"(?:^|[,\s])\s*\(?{letter}[:.)]\s*"
LETTERS = "ABCDE"
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_DIGITS = re.compile(r"[0-9]+(?:[.,/][0-9]+)*")


def parse_choices(text: str) -> tuple[str, list[str]]:
    """The bare stem and the texts of the choices of a question; [] where it lists none.

    >>> parse_choices("Q: Where to? Answer choices: A: bank, B: a mall")
    ('Where to?', ['bank', 'a mall'])
    """
    stem, *listed = _CHOICES.split(text, maxsplit=1)
    if not listed:
        return text.strip(), []
    starts, rest, position = [], listed[0], 0
    for letter in LETTERS:
        match = re.compile(_OPTION.format(letter=letter)).search(rest, position)
        if match is None:
            break
        starts.append(match.span())
        position = match.end()
    if not starts:  # "Answer choices: bank, library": nothing says where one begins
        return text.strip(), []
    ends = [begin for begin, _ in starts[1:]] + [len(rest)]
    choices = [rest[s:e].strip(" ,\n\t") for (_, s), e in zip(starts, ends, strict=True)]
    return re.sub(r"^Q:\s*", "", stem).strip(), choices


def write_choices(stem: str, choices: Iterable[str]) -> str:
    """The one form of a question with choices: stem, "Answer choices:", (A) bank (B) library."""
    listed = " ".join(f"({letter}) {text}" for letter, text in zip(LETTERS, choices, strict=False))
    return f"{stem}\nAnswer choices: {listed}" if listed else stem


def unify_choices(text: str) -> str:
    """A question's text, stripped, with its choices (if it lists any) in the one form."""
    return write_choices(*parse_choices(text))


def normalise(question: str) -> str:
    """The bare stem in NFKC and lower case, every run of non-alphanumerics one space."""
    text = unicodedata.normalize("NFKC", parse_choices(question)[0]).lower()
    return re.sub(r"[\W_]+", " ", text).strip()


def without_numbers(question: str) -> str:
    """A question with every number masked: what is left where only the numbers are new.

    >>> without_numbers("Ann has 15 pens. Ann buys 3 bags of 4.")
    'Ann has 0 pens. Ann buys 0 bags of 0.'
    """
    return _DIGITS.sub("0", question)


def template(question: str) -> str:
    """The story of a question, normalised, every number masked.

    The story is all but the last sentence, which asks; of a single sentence, the whole. (Of
    SVAMP's 300 test questions none is a training question with other numbers, but 147 ask
    something else of a training question's story.)

    >>> template("Ann has 1,450 pens. How many?") == template("Ann has 3.5 pens. Who has them?")
    True
    """
    stem = parse_choices(question)[0].strip()
    story = _SENTENCE.split(stem)[:-1]
    return normalise(without_numbers(" ".join(story) or stem))


def template_clean(train: Iterable[str], questions: Iterable[str]) -> list[bool]:
    """For each question: whether no training question has its template."""
    known = {template(question) for question in train}
    return [template(question) not in known for question in questions]


@cache
def question_hash(question: str) -> str:
    """SHA-256 of the normalised question, 64 hex digits."""
    return hashlib.sha256(normalise(question).encode()).hexdigest()


def question_id(question: str) -> str:
    """The first 16 hex digits of a question's hash."""
    return question_hash(question)[:16]


def is_dev(question: str) -> bool:
    """Whether a training question belongs to the dev split: SHA-256 mod 10 = 0."""
    return int(question_hash(question), 16) % 10 == 0


def lowest(table: pd.DataFrame, size: int | None) -> pd.DataFrame:
    """The `size` questions of lowest hash, in the order of their hashes; None keeps all."""
    ordered = table.sort_values("question_id", kind="stable")
    return ordered if size is None else ordered.head(size)


def overlap(first: Iterable[str], second: Iterable[str]) -> list[str]:
    """The questions of `second` that are in `first` once both are normalised, in order."""
    known = {normalise(question) for question in first}
    return [question for question in second if normalise(question) in known]


def _short(text: str) -> str:
    return repr(text if len(text) < 90 else f"{text[:87]}...")


def check_leaks(
    train: Iterable[str], dev: Iterable[str], tests: Mapping[str, Iterable[str]]
) -> None:
    """Refuse test questions that are trained or selected on.

    tests: questions by the name of their task.

    Raises: UserError with the task, how many of its questions leak, and the first of them.
    """
    sets: dict[str, list[str]] = {"training": list(train), "dev": list(dev)}
    for name, questions in tests.items():
        tested = list(questions)
        for place, seen in sets.items():
            if leaked := overlap(seen, tested):
                raise UserError(
                    f"{len(leaked)} of the {len(tested)} test questions of {name!r} are in the "
                    f"{place} set, the first: {_short(leaked[0])}"
                )
    if both := overlap(sets["training"], sets["dev"]):
        raise UserError(
            f"{len(both)} dev questions are in the training set, the first: {_short(both[0])}"
        )
