"""The nearest known name to one that is mistyped."""

from __future__ import annotations

from compact_bench.errors import nearest


def test_nearest():
    assert nearest("avrage", ["average", "base"]) == " (did you mean 'average'?)"
    assert nearest("xyz", ["average"]) == ""
