"""Names that are mistyped: the nearest known one, and the error that lists all of them."""

from __future__ import annotations

from compact_bench.errors import UserError, nearest, quoted, shortened, unknown


def test_nearest():
    assert nearest("avrage", ["average", "base"]) == " (did you mean 'average'?)"
    assert nearest("xyz", ["average"]) == ""


def test_an_unknown_name_comes_with_the_known_ones():
    error = unknown("unknown fault", "filer", ["filler", "wrong_step"], ", or none")
    assert str(error) == (
        "unknown fault 'filer' (did you mean 'filler'?); known: filler, wrong_step, or none"
    )


def test_a_value_is_quoted_in_part():
    assert quoted("short") == "'short'"
    assert quoted("x" * 1000) == "'" + "x" * 199 + "… (802 more characters)"
    endless: list = []
    endless.append(endless)
    assert len(quoted(endless)) < 100
    assert quoted(16**5000) == "a int that is too large to be shown"  # repr refuses it
    assert shortened("abcdef", 4) == "abcd… (2 more characters)"
    assert nearest("x" * 10**6, ["xxx"]) == ""


def test_a_user_s_error_is_one_line():
    """Of other libraries' messages too, which are quoted."""
    assert str(UserError("can't read: broken\npage header")) == "can't read: broken page header"
