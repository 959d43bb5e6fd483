"""Names that are mistyped: the nearest known one, and the error that lists all of them."""

from __future__ import annotations

from compact_bench.errors import nearest, unknown


def test_nearest():
    assert nearest("avrage", ["average", "base"]) == " (did you mean 'average'?)"
    assert nearest("xyz", ["average"]) == ""


def test_an_unknown_name_comes_with_the_known_ones():
    error = unknown("unknown fault", "filer", ["filler", "wrong_step"], ", or none")
    assert str(error) == (
        "unknown fault 'filer' (did you mean 'filler'?); known: filler, wrong_step, or none"
    )
