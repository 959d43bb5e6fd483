"""Odd values, and ways to spoil a text, a value or a file: what the tests beside this one draw."""

from __future__ import annotations

import copy
import datetime
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from compact_bench.errors import UserError

GIVEN = os.environ.get("COMPACT_FUZZ_EXAMPLES")
SECONDS = 1.0  # of the processor, for one input
LONGEST = 3000  # characters of a message, paths included


def fuzzed(usual: int) -> settings:
    """So many examples, the same ones each time; COMPACT_FUZZ_EXAMPLES others at random instead."""
    return settings(
        max_examples=int(GIVEN or usual),
        derandomize=GIVEN is None,
        deadline=None,
        phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
        suppress_health_check=[*HealthCheck],
    )


def refused_or_done(function: Callable[[], Any]) -> Any:
    """Call it: it must return, or raise UserError with one line, in no more than a second."""
    started = time.process_time()
    result = None
    try:
        result = function()
    except UserError as error:
        message = str(error)
        assert message and "\n" not in message, message
        assert len(message) < LONGEST, len(message)
    taken = time.process_time() - started
    # Without the variable this is part of the usual tests, and the first call imports a lot.
    assert GIVEN is None or taken < SECONDS, taken
    return result


NESTED: list[Any] = []
for _ in range(200):
    NESTED = [NESTED]

ODD: list[Any] = [
    *(None, True, False, 0, -1, 1, 7, 10**20, -(10**20), 16**5000, 0.0, -0.5, 1e308),
    *(float("nan"), float("inf"), float("-inf")),
    *("", " ", "\n", "\0", "\ud83d", "²", "٣", "x" * 20_000, "~nosuchuser", "../..", "/", "a/b"),
    *("yes", "mini", "svamp", "in_domain", "nan", "1e-3", "{}", "A", "(b)", "{x}", "\u202e"),
    *([], {}, [[]], [None], ["x", "x"], {"": 1}, {"a": {}}, {1: 2}, {None: None}, [1, "a"]),
    *(b"bytes", {"set"}, datetime.date(2001, 1, 1), (1, 2), NESTED),
]
ODD_TEXT = [
    *("", "~", "[", "]", "{", "}",
      ":", "- ", "&a", "*a", "&a [*a]", "<<: *a", "? [a]", "!!set {a}"),
    *("!!python/object:os.system x", "2001-99-99", "0b_", "0x" + "f" * 5000, "9" * 5000, "1:60:60"),
    *("\t", "\0", "|", ">", "'", '"', "%", "@", "`", "#", "---", "...", "\ufeff", "²", "=", "."),
    *("[" * 3000, "{a: " * 500, '"\\ud800"', "1e999", "-.inf", "x" * 20_000, "\r", "\u2028"),
]  # fmt: skip

odd_values = st.one_of(st.sampled_from(ODD), st.integers(), st.floats(), st.text(max_size=30))
odd_texts = st.one_of(st.sampled_from(ODD_TEXT), st.text(max_size=20))


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every part of a value."""
    yield path
    items = value.items() if isinstance(value, dict) else ()
    for key, child in enumerate(value) if isinstance(value, list) else items:
        yield from places(child, (*path, key))


@st.composite
def spoiled_values(draw: st.DrawFn, whole: Any) -> Any:
    """A value with one to three of its parts replaced, removed or put under another key."""
    value = copy.deepcopy(whole)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from([path for path in places(value) if path] or [()]))
        if not path:
            return draw(odd_values)
        parent = value
        for key in path[:-1]:
            parent = parent[key]
        odd = copy.deepcopy(draw(odd_values))
        how = draw(st.sampled_from(["replace", "replace", "remove", "rename", "add"]))
        if how == "replace":
            parent[path[-1]] = odd
        elif how == "remove":
            del parent[path[-1]]
        elif isinstance(parent, list):
            parent.append(odd)
        elif how == "rename" and isinstance(odd, str | int | None):
            parent[odd] = parent.pop(path[-1])
        else:
            parent[draw(st.text(max_size=5))] = odd
    return value


@st.composite
def spoiled_texts(draw: st.DrawFn, whole: str) -> str:
    """A text with one to four changes of its lines and characters."""
    text = whole
    for _ in range(draw(st.integers(1, 4))):
        lines = text.split("\n")
        at = draw(st.integers(0, len(lines) - 1))
        how = draw(
            st.sampled_from(["value", "insert", "delete", "double", "indent", "swap", "cut"])
        )
        if how == "value":
            head, colon, _ = lines[at].partition(":")
            lines[at] = f"{head}{colon or ':'} {draw(odd_texts)}"
        elif how == "insert":
            place = draw(st.integers(0, len(lines[at])))
            lines[at] = lines[at][:place] + draw(odd_texts) + lines[at][place:]
        elif how == "delete":
            del lines[at]
        elif how == "double":
            lines.insert(at, lines[at])
        elif how == "indent":
            lines[at] = " " * draw(st.integers(0, 5)) + lines[at]
        elif how == "swap":
            other = draw(st.integers(0, len(lines) - 1))
            lines[at], lines[other] = lines[other], lines[at]
        else:
            lines = lines[:at]
        text = "\n".join(lines) or " "
    return text


@st.composite
def spoiled_bytes(draw: st.DrawFn, whole: bytes) -> bytes:
    """The content of a file that is cut, overwritten in part, or something else altogether."""
    how = draw(st.sampled_from(["cut", "overwrite", "other"]))
    place = draw(st.integers(0, len(whole)))
    if how == "cut":
        return whole[:place]
    some = draw(
        st.sampled_from([b"", b"\0", b"[]", b"{}", b"null", b"\xff\xfe", b"[" * 5000, b"7"])
    )
    return whole[:place] + some + whole[place + len(some) :] if how == "overwrite" else some
