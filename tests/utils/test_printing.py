"""Rows in a terminal: aligned columns, and JSON for a script."""

from __future__ import annotations

import json
from pathlib import Path

from compact_bench.utils.printing import as_json, table_text

ROWS = [
    {"name": "average", "share": 0.123456, "ready": True, "teachers": ["a", "b"], "empty": None},
    {"name": "x", "share": 2.0, "ready": False, "teachers": {"c": 1}, "more": 7},
]


def test_columns_are_aligned_and_empty_ones_left_out():
    assert table_text(ROWS).splitlines() == [
        "name     share   ready  teachers  more",
        "average  0.1235  yes    a, b",
        "x        2              c         7",
    ]


def test_json_holds_everything():
    assert json.loads(as_json(ROWS)) == ROWS
    assert json.loads(as_json({"path": Path("é")})) == {"path": "é"}
