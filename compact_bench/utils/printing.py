"""Rows of plain values as an aligned table and as JSON, for a terminal."""

from __future__ import annotations

import json
from typing import Any

Rows = list[dict[str, Any]]


def as_json(value: Any) -> str:
    """Return JSON for a script to read."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def table_text(rows: Rows) -> str:
    """Return rows as aligned columns; empty columns are left out."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    columns = [key for key in columns if any(_cell(row.get(key)) for row in rows)]
    lines = [columns] + [[_cell(row.get(key)) for key in columns] for row in rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _cell(value: Any) -> str:
    if isinstance(value, (list, tuple, dict)):  # of a mapping, its keys: the rest is for --json
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)
