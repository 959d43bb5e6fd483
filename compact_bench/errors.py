"""The errors that a user sees, and the nearest known name for a mistyped one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Bad input: one line for the user, exit code 2. Of several lines one is made."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))


class MachineError(Exception):
    """The machine ended a command, by want of memory say: one line for the user, exit code 1."""


class CellError(Exception):
    """One cell can't be done; it is recorded as failed with this reason."""


class Diverged(CellError):
    """The loss is NaN or infinite; the cell is recorded as diverged."""


class Pruned(Exception):
    """A search stopped the training of a trial; its cell is recorded as pruned."""


LONGEST_QUOTE = 200  # characters of a value in a message


def shortened(text: str, most: int = LONGEST_QUOTE) -> str:
    """The text on one line, cut after `most` characters; what was cut is counted.

    >>> shortened("abcdef", 4)
    'abcd… (2 more characters)'
    """
    text = " ".join(text.splitlines())
    over = len(text) - most
    return text if over <= 0 else f"{text[:most]}… ({over:,} more characters)"


def quoted(value: object) -> str:
    """A value that somebody gave, as Python writes it, short enough for a line."""
    try:
        return shortened(repr(value))
    except (ValueError, RecursionError):  # an integer of 4,300 digits; lists in lists in lists
        return f"a {type(value).__name__} that is too large to be shown"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the known name closest to ``name``, or ``""``.

    >>> nearest("avrage", ["average", "base"])
    " (did you mean 'average'?)"
    """
    # The search takes time with the square of the length, and nobody mistypes so many letters.
    short = str(name)[:LONGEST_QUOTE]
    closest = difflib.get_close_matches(short, [str(item) for item in known], n=1)
    return f" (did you mean {closest[0]!r}?)" if closest else ""


def unknown(problem: str, name: str, known: Iterable[str], others: str = "") -> UserError:
    """Return the error for a name that is none of the known ones; `others` ends their list.

    >>> str(unknown("no question has the teacher", "adda", ["ada", "bob"]))
    "no question has the teacher 'adda' (did you mean 'ada'?); known: ada, bob"
    """
    known = list(known)
    hint = nearest(name, known)
    return UserError(f"{problem} {quoted(name)}{hint}; known: {', '.join(known)}{others}")
