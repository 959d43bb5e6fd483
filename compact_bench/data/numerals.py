"""The numbers of a text where they stand: what they are worth, and whether they are results."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Set
from fractions import Fraction
from typing import NamedTuple

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

_SAID_AFTER = re.compile(r"\b(?:is|are|was|were|be):?\s*(?:about\s+)?[$€£]?\s*\Z")

# "60 chairs - 11 chairs": what is counted, before a sign.
_UNIT = re.compile(r"(?<=[0-9)])(?:\s+[a-z]+(?:/[a-z]+)?){1,3}(?=\s*[-+*/)=])")

_SUM = re.compile(r"[-+*/().0-9\s]+\Z")

_OPERATIONS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


class Numeral(NamedTuple):
    """A number of a text: its offsets in characters, as it is written, and its value."""

    start: int
    end: int
    text: str
    value: Fraction


def numerals(text: str) -> list[Numeral]:
    """The numbers of a text in order, without signs; "1,450" and "3.5" are one number each."""
    return [
        Numeral(found.start(), found.end(), found[0], Fraction(found[0].replace(",", "")))
        for found in _NUMERAL.finditer(text)
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
    if _RESULT_AFTER.search(before) or (final and _SAID_AFTER.search(before)):
        return True
    return number.value not in given


def true_values(text: str) -> frozenset[Fraction]:
    """What the sums before each "=" or "makes" of a text really come to.

    >>> sorted(map(int, true_values("First 7 plus 5 makes 13. 2 * (3 + 4) = 14")))
    [12, 14]
    """
    plain = _SIGN_WORD.sub(lambda sign: _SIGNS.get(sign[0], "*"), text)
    plain = _UNIT.sub("", re.sub(r"(?<=[0-9]),(?=[0-9]{3})|[$€£]", "", plain))
    found = set()
    for equals in re.finditer(r"=|\bmakes\b|\band get\b", plain):
        before = _SUM.search(plain[max(0, equals.start() - 200) : equals.start()])
        if before and (value := _value(re.split(r"\.\s", before[0])[-1].strip())) is not None:
            found.add(value)
    return frozenset(found)


def _value(expression: str) -> Fraction | None:
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
    places = len(like.partition(".")[2])
    while places < 9 and (value * 10**places).denominator != 1:
        places += 1
    if (value * 10**places).denominator != 1:
        return str(value)
    comma = "," if "," in like else ""
    digits = int(abs(value) * 10**places)
    whole, part = divmod(digits, 10**places)
    sign = "-" if value < 0 else ""
    return f"{sign}{whole:{comma}}" + (f".{part:0{places}}" if places else "")
