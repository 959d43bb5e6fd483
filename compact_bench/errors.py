"""The errors that a user sees, and the nearest known name for a mistyped one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Bad input: one line for the user, exit code 2."""


class MachineError(Exception):
    """The machine ended a command, by want of memory say: one line for the user, exit code 1."""


class CellError(Exception):
    """One cell can't be done; it is recorded as failed with this reason."""


class Diverged(CellError):
    """The loss is NaN or infinite; the cell is recorded as diverged."""


class Pruned(Exception):
    """A search stopped the training of a trial; its cell is recorded as pruned."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the known name closest to ``name``, or ``""``.

    >>> nearest("avrage", ["average", "base"])
    " (did you mean 'average'?)"
    """
    closest = difflib.get_close_matches(str(name), [str(item) for item in known], n=1)
    return f" (did you mean {closest[0]!r}?)" if closest else ""


def unknown(problem: str, name: str, known: Iterable[str], others: str = "") -> UserError:
    """Return the error for a name that is none of the known ones; `others` ends their list.

    >>> str(unknown("no question has the teacher", "adda", ["ada", "bob"]))
    "no question has the teacher 'adda' (did you mean 'ada'?); known: ada, bob"
    """
    known = list(known)
    return UserError(f"{problem} {name!r}{nearest(name, known)}; known: {', '.join(known)}{others}")
