"""Final answers in free text: extraction, canonical form, comparison, and reasoning steps.

Four kinds of answer: ``number``, ``boolean``, ``choice`` (a letter A to E) and ``expression``
(LaTeX of the MATH data set, which is only ever trained on here).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from decimal import Context, Decimal, Inexact
from fractions import Fraction

KINDS = ("number", "boolean", "choice", "expression")
MOST_DIGITS = 4000  # Python turns no text of more than 4,300 digits into an integer, or back
_EXACT = Context(prec=400, traps=[Inexact])

# "1,450" must win over "1", and "5-3" is a difference, not five and minus three.
_NUMBER = re.compile(
    r"(?P<sign>(?<![\w)\]])(?:-\s?\$?|\$\s?-)|\$\s?)?"
    r"(?P<whole>[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)?"
    r"(?P<part>(?<=[0-9])\.[0-9]+|(?<![0-9.])\.[0-9]+)?"
    r"(?:\s?/\s?(?P<under>[0-9]+)(?![0-9.,]*[0-9]))?"
)

# A gold answer, whole: at most a currency sign before it and a unit without digits after it.
_SCIENTIFIC = re.compile(r"[-+]?[0-9]*\.?[0-9]+[eE][-+]?[0-9]{1,3}")

_UNIT = re.compile(r"\s*(?:%|[a-zA-Z°][^0-9=+*/<>]*)?\.?\s*")
_BOOLEAN = re.compile(r"\b(yes|true|no|false)\b", re.IGNORECASE)
_TRUTH = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}
_LETTER = re.compile(r"(?<![\w'])\(?([A-E])\)?(?![\w'])")
# "A man" begins with an article, "A is" with a choice.
_MENTIONED_LETTER = re.compile(r"(?<![\w'])\(?([B-E]|A(?!\s(?!is\b)[a-z]))\)?(?![\w'])")
_LONE_LETTER = re.compile(r"\W*([A-Ea-e])\W*")

# "The answer is", "Hence, the correct answer is", "the answer that best fits this context is",
# in three parts around the word itself: one pattern for all of it is ten times slower.
_ANSWER = re.compile(r"\banswer\b", re.IGNORECASE)

_LEAD = re.compile(
    r"(?:[,;]?\s*\b(?:so|therefore|thus|hence|and|then)\b\s*,?\s*)?"
    r"(?:\b(?:the|our|my|its)\s+)?(?:\b(?:final|correct|right|best)\s+)*\Z",
    re.IGNORECASE,
)

_COPULA = re.compile(
    r"(?:\s+(?:choice|option)\b)?(?:\s+(?:that|which|to|for|from)\b[^.!?\n]{0,80}?)?"
    r"\s*(?:\bis\b|\bare\b|\b(?:would|should|must|could|will)\s+be\b|:|=)(?:\s*:)?",
    re.IGNORECASE,
)

# After the cue, but no value: "not 22", "likely incorrect", "that Ann had 10 and Bob 6".
_NO_VALUE = re.compile(
    r"\W*(?:likely\s+|probably\s+)?(?:not|incorrect|wrong|inconsistent|that)\b", re.IGNORECASE
)

_BARE = re.compile(
    r"[\s:$(]*(?:[-0-9.,]+[^-0-9=+*/]{0,20}|\(?[A-E]\)?\b.{0,3}|(?:true|false|yes|no)\b.{0,3})\s*",
    re.IGNORECASE,
)

_ABBREVIATION = re.compile(
    r"(?:\b(?:mr|mrs|ms|dr|st|vs|jr|sr|prof|approx|etc|e\.g|i\.e|a\.m|p\.m|u\.s)"
    r"|(?<!is )(?<!option )\b[A-Z])$",
    re.IGNORECASE,
)

# Lines; a full stop, question or exclamation mark before a space or, where a teacher forgot the
# space ("= 145.The answer"), before a capital letter. "3.5" and "1,450" hold neither.
_BREAK = re.compile(r"\s*\n\s*|(?<=[.!?])[\"')\]]*\s+|(?<=[a-z0-9)]\.)(?=[A-Z][a-z ])")

_ENUMERATOR = re.compile(r"\(?(?:[0-9]{1,2}|[a-zA-Z])[.)]")


def _plain(text: str) -> str:
    """NFKC without unicode minus signs, so that one set of patterns is enough."""
    return unicodedata.normalize("NFKC", text).replace("\u2212", "-").replace("\u2044", "/")


def exact_text(value: Fraction) -> str:
    """An integer, a finite decimal, or a fraction in lowest terms."""
    try:
        return f"{_EXACT.divide(Decimal(value.numerator), Decimal(value.denominator)):f}"
    except Inexact:
        return str(value)


def _value(match: re.Match[str]) -> str | None:
    """Canonical text of one number match, None for an empty one and for one of too many digits."""
    if (match["whole"] is None and match["part"] is None) or len(match[0]) > MOST_DIGITS:
        return None
    value = Fraction((match["whole"] or "0").replace(",", "") + (match["part"] or ""))
    if match["under"] and int(match["under"]):
        value /= int(match["under"])
    return exact_text(-value if "-" in (match["sign"] or "") else value)


def _numbers(text: str) -> Iterator[str]:
    """Canonical forms of the numbers of a text, in order."""
    return (value for value in map(_value, _NUMBER.finditer(text)) if value is not None)


def _expression(text: str) -> str | None:
    """One spelling for the LaTeX of a short answer: no units, spaces, dollars or degree signs."""
    text = re.sub(r"^\W*[a-zA-Z]\s*=\s*", "", text.replace("\\\\", "\\"))  # "b = -4"
    text = re.sub(r"\\(?:text|mbox|textnormal|textbf|mathrm)\s*\{\s*([^{}]*)\}", r" \1", text)
    text = re.sub(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}", r"(\1)/(\2)", text)
    text = re.sub(r"\\[dt]?frac\s*([0-9])\s*([0-9])", r"(\1)/(\2)", text)
    text = re.sub(r"(?<![\w}])([0-9]+)\s*\(([0-9]+)\)/\(([0-9]+)\)", _mixed, text)
    text = re.sub(r"\^?\{?\\circ\}?|°|\\[!,;: ]|\\%|%|\\?\$|\\left|\\right", "", text)
    text = re.sub(r"\\?sqrt\s*[({]([^(){}]*)[)}]|√\(?(\w+)\)?", r"sqrt(\1\2)", text)
    text = re.sub(r"(?<=[0-9)])\s+[a-zA-Z ]+(?:\^\{?[23]\}?)?\s*$", "", text.strip().rstrip("."))
    text = re.sub(r"[{}\s*]", "", re.sub(r"\((\w+)\)/\((\w+)\)", r"\1/\2", text))
    return canonical(text, "number") or text or None


def _mixed(match: re.Match[str]) -> str:
    """Two and a half, written 2(1)/(2), as (5)/(2)."""
    if len(match[0]) > MOST_DIGITS:
        return match[0]
    whole, over, under = map(int, match.groups())
    return f"({whole * under + over})/({under})"


def canonical(answer: str, kind: str) -> str | None:
    """One spelling of an answer, or None where it is not of that kind.

    "1,450", "$5", "145.0" -> "1450", "5", "145"; "True" -> "yes"; "(b)" -> "B".

    Raises: ValueError for an unknown kind.
    """
    text = _plain(str(answer)).strip()
    if kind == "number":
        match = _NUMBER.match(text)
        if match and match.end() and _UNIT.fullmatch(text, match.end()):
            return _value(match)
        short = len(text) <= MOST_DIGITS - 1000  # the exponent may add 999
        return exact_text(Fraction(text)) if short and _SCIENTIFIC.fullmatch(text) else None
    if kind == "boolean":
        return _TRUTH.get(text.strip(".!\"' ").lower())
    if kind == "choice":
        lone = _LONE_LETTER.fullmatch(text) or re.match(r"\(?([A-E])\)?\s*[.:)]", text)
        return lone[1].upper() if lone else None
    if kind == "expression":
        return _expression(text)
    raise ValueError(f"unknown kind of answer {kind!r}; known: {', '.join(KINDS)}")


def same_answer(first: str | None, second: str | None, kind: str) -> bool:
    """Whether two answers are the same value; a missing one equals nothing."""
    if first is None or second is None:
        return False
    value = canonical(first, kind)
    return value is not None and value == canonical(second, kind)


def mentions(text: str, answer: str, kind: str) -> bool:
    """Whether an answer stands in a text, by its value: a whole number, a word, a choice letter.

    "$16" and "47,000" are 16 and 47000, and 14 is not 1. Both sides of a ratio count ("12 / 4"
    mentions 12, 4 and 3), and a minus may be a difference's: "9 - 3" mentions 3. The article of
    "A man" is no choice.

    >>> [mentions("She paid $16 of $47,000.", value, "number") for value in ("16", "47000", "7")]
    [True, True, False]
    """
    value, text = canonical(answer, kind), _plain(text)
    if value is None:
        return False
    if kind == "boolean":
        return value in {_TRUTH[word.lower()] for word in _BOOLEAN.findall(text)}
    if kind == "choice":
        return any(value == match[1] for match in _MENTIONED_LETTER.finditer(text))
    number = canonical(value, "number")
    if number is None:
        return value in (_expression(text) or "")
    return number in _mentioned_numbers(text)


def _mentioned_numbers(text: str) -> set[str]:
    """Canonical forms of the numbers of a text, with and without sign, and of parts of ratios."""
    values = set()
    for match in _NUMBER.finditer(text):
        if (value := _value(match)) is not None:
            above = Fraction((match["whole"] or "0").replace(",", "") + (match["part"] or ""))
            values |= {value, value.lstrip("-"), exact_text(above)}
            values |= {exact_text(Fraction(match["under"]))} if match["under"] else set()
    return values


def _stated(text: str, kind: str) -> str | None:
    """The answer in what follows the cue: after the last "=", else the first of its kind.

    "81 - 60 = 21" is 21; "7, but the question seems wrong" and "10, not 13" are 7 and 10.
    """
    if kind == "number":
        head, equals, tail = text.rpartition("=")
        value = next(_numbers(tail if equals else text), None)
        return value if value is not None else next(_numbers(head), None)
    if kind == "boolean":
        match = _BOOLEAN.search(text)
        return _TRUTH[match[1].lower()] if match else None
    if kind == "choice":
        lone = _LONE_LETTER.fullmatch(text) or _LETTER.search(text)
        return lone[1].upper() if lone else None
    return canonical(text.rpartition("=")[2], kind)


def _answer_sentences(text: str) -> Iterator[tuple[int, int, int]]:
    """(start of the clause, end of the cue, end of the sentence) of the answer sentences, the last
    one first."""
    for word in reversed(list(_ANSWER.finditer(text))):
        copula = _COPULA.match(text, word.end())
        if copula is None:
            continue
        lead = _LEAD.search(text, max(0, word.start() - 60), word.start())
        start = lead.start() if lead else word.start()
        first_step = next(_spans(text[start:]))
        yield start, copula.end(), max(start + first_step[1], copula.end())


def extract_answer(text: str, kind: str) -> str | None:
    """Canonical answer of the last answer sentence ("The answer is X"), None without one.

    Used alike for a teacher's rationale and a student's output. "The answer is not 9" states none.
    """
    for _, after, end in _answer_sentences(text):
        value = text[after:end]
        if not _NO_VALUE.match(value) and (answer := _stated(_plain(value), kind)) is not None:
            return answer
    return None


def extract_flexible(text: str, kind: str) -> str | None:
    """Canonical last number, yes/no or choice letter of a text, wherever it stands."""
    if kind == "number":
        numbers = list(_numbers(_plain(text)))
        return numbers[-1] if numbers else None
    if kind == "boolean":
        words = _BOOLEAN.findall(text)
        return _TRUTH[words[-1].lower()] if words else None
    if kind == "choice":
        letters = _LETTER.findall(text)
        return letters[-1] if letters else canonical(text, kind)
    boxed = re.findall(r"\\boxed\s*\{(.*?)\}\s*\$", text)
    return canonical(boxed[-1], kind) if boxed else extract_flexible(text, "number")


def rationale_answer(text: str, kind: str, completion: str = "", known: str = "") -> str | None:
    """A rationale's own answer: its `completion` field, else its closing sentence, else `known`.

    Without any of them, the last value of the closing step ("..., which is 13."), unless that
    step argues with the answer it was given ("The answer is not 11").
    """
    if completion:
        return canonical(completion, kind) or extract_flexible(completion, kind)
    stated = extract_answer(text, kind)
    if stated is not None or known:
        return stated if stated is not None else canonical(known, kind)
    closing = (split_steps(text) or [""])[-1]
    doubtful = re.search(r"\b(?:not|incorrect|mistake|wrong|answer)\b", closing, re.IGNORECASE)
    return None if doubtful else extract_flexible(closing, kind)


def strip_answer_sentence(text: str) -> str:
    """The body of a rationale: all before its closing answer sentence, repetitions included.

    Of "Since drops are for eyes, the answer is E" the reason stays, which " The answer is" may
    follow. An answer sentence in the middle stays: a closing one has at most one short remark
    after it.
    """
    body = text.strip()
    first = True
    while sentence := next(_answer_sentences(body), None):
        start, after, end = sentence
        value, rest = body[after:end], body[end:].strip()
        closing = len(rest) <= 80 and len(split_steps(rest)) <= 1 and not _NO_VALUE.match(value)
        # An earlier one that holds more than a value ("The answer is 10 - 7 = ?") is reasoning.
        if not closing or not (first or _BARE.fullmatch(value)):
            break
        body = body[:start].rstrip(" ,;\n\t")
        first = False
    return body


def step_spans(text: str) -> list[tuple[int, int]]:
    """(start, end) character offsets of the steps: sentences and lines, without outer spaces.

    Never breaks inside 3.5 or 1,450, after an abbreviation, or between "2." and its sentence.
    """
    return list(_spans(text))


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """The spans of `step_spans`, one after the other: often only the first is wanted."""
    begin = 0
    for match in _BREAK.finditer(text):
        before = text[begin : match.start()].strip()
        newline = "\n" in match[0]
        if not newline and before.endswith(".") and _ABBREVIATION.search(before[:-1]):
            continue
        if not newline and _ENUMERATOR.fullmatch(before):
            continue
        yield from _trimmed(text, begin, match.end())
        begin = match.end()
    yield from _trimmed(text, begin, len(text))


def _trimmed(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The span without outer spaces; nothing where there is only space."""
    piece = text[start:end]
    if piece.strip():
        yield start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())


def split_steps(text: str) -> list[str]:
    """The steps of a rationale as text; see `step_spans`."""
    return [text[start:end] for start, end in step_spans(text)]


def pieces(text: str) -> int:
    """Length of a text in words, digits and signs: about what a tokenizer makes of it."""
    return len(re.findall(r"[^\W\d_]+|\S", text))
