"""Accuracy in domain on items whose story some training question tells, and on all others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from compact_bench.analysis import statistics
from compact_bench.analysis.results import Results, Row
from compact_bench.report.parts import captions, formats
from compact_bench.report.parts.formats import Entry, Table
from compact_bench.report.parts.numbers import NONE, with_half_width, with_sd
from compact_bench.suite.metrics import Measure
from compact_bench.suite.schema import IN_DOMAIN

MEASURE = Measure(IN_DOMAIN, "accuracy", "strict", "reasoning")

ALL, CLEAN, REST = "all", "template-clean", "the rest"


def table(results: Results) -> Table | None:
    """Each row on all items, on the template-clean ones and on the rest.

    None where the records don't say which they are, or where all are or none is.
    """
    parts = members(results)
    if not parts[CLEAN] or not parts[REST]:
        return None
    rows = [row for row in results.rows if _items(row) is not None]
    columns: dict[str, list[Entry]] = {"method": [Entry(row.label) for row in rows]}
    for part, ids in parts.items():
        values = [Entry(with_sd(accuracy(row, ids), MEASURE)) for row in rows]
        columns[f"{part} ({len(ids)}): accuracy, % ↑"] = values
    reference = results.reference.name if results.reference else NONE
    found = {row.label: difference(results, row, parts[CLEAN]) for row in rows}
    columns[f"Δ {CLEAN} to {reference}"] = [
        Entry(with_half_width(found[row.label], MEASURE)) for row in rows
    ]
    text = captions.caption(results, *_caption(), captions.intervals(found.values(), "rows"))
    numbers = [line for row in rows for line in _numbers(results, row, parts)]
    title = "Items whose story a training question tells"
    return formats.table("subsets", title, text, columns, pd.DataFrame(numbers))


def _caption() -> tuple[str, ...]:
    return (
        "Accuracy in domain. Template-clean: no training question tells the same story (the text "
        "without its last sentence, numbers masked); on the rest a story that was learned may "
        "help. In parentheses how many items",
        "Differences are on the template-clean items, paired by seed and item",
    )


def members(results: Results) -> dict[str, frozenset[str]]:
    """The question ids of each part."""
    clean = frozenset(key for key, is_clean in results.clean.items() if is_clean)
    every = frozenset(results.clean)
    return {ALL: every, CLEAN: clean, REST: every - clean}


def accuracy(row: Row, ids: frozenset[str]) -> statistics.Summary:
    """Mean and sd over seeds of the accuracy on these items."""
    table = _items(row)
    return statistics.summarise([] if table is None else list(_of(table, ids).mean(axis=1)))


def difference(results: Results, row: Row, ids: frozenset[str]) -> statistics.Difference | None:
    """Row - reference on these items, seeds and items crossed; None for the reference itself."""
    other = results.reference_of(row)
    if other is None or other.label == row.label:
        return None
    left, right = _items(row), _items(other)
    if left is None or right is None:
        return None
    values = statistics.paired(_of(left, ids), _of(right, ids))
    return statistics.crossed(values) if np.size(values) else None


def _items(row: Row) -> pd.DataFrame | None:
    return row.items.get((IN_DOMAIN, "right"))


def _of(table: pd.DataFrame, ids: frozenset[str]) -> pd.DataFrame:
    return table[[key for key in table.columns if key in ids]]


def _numbers(results: Results, row: Row, parts: dict[str, frozenset[str]]) -> list[dict[str, Any]]:
    """Unrounded: a line for each part, with the paired difference on it."""
    lines = []
    for part, ids in parts.items():
        one = accuracy(row, ids)
        found = difference(results, row, ids) or statistics.Difference(statistics.NAN)
        lines.append(
            results.key(row)
            | {"part": part, "n": len(ids), "mean": one.mean, "sd": one.sd, "seeds": one.n}
            | {"difference": found.mean, "half_width": found.half_width, "p": found.p}
        )
    return lines
