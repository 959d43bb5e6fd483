"""Rows whose students write the same: one of the two doesn't do what tells it from the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from compact_bench.analysis.results import Results, Row, cached

EQUAL_SHARE = 0.95  # of the outputs: rows above it are twins
CODES = "output_code"


@dataclass(frozen=True)
class Twins:
    """Two rows of one condition: the share of equal outputs, and of how many."""

    first: Row
    second: Row
    share: float
    outputs: int


@cached
def twins(results: Results) -> list[Twins]:
    """The pairs of rows with more than `EQUAL_SHARE` equal outputs, in the suite's order.

    Compared are outputs of the same seed, task and item; a row that has no seed stands for each.
    Rows without output texts, as of choice tasks alone, are nobody's twins.
    """
    conditions = dict.fromkeys(row.condition for row in results.rows)
    return [
        pair
        for condition in conditions
        for pair in _pairs([row for row in results.rows if row.condition == condition])
    ]


def _pairs(rows: Sequence[Row]) -> Iterator[Twins]:
    tables = {row.label: _outputs(row) for row in rows}
    rows = [row for row in rows if tables[row.label].size]
    if not rows:
        return
    numbers = sorted({seed for row in rows for seed in row.done if seed is not None})
    seeds: list[int | None] = [*numbers] or [None]
    items = pd.MultiIndex.from_tuples(
        sorted({item for row in rows for item in tables[row.label].columns})
    )
    codes = np.stack([_grid(tables[row.label], seeds, items) for row in rows])  # (rows, outputs)
    known = ~np.isnan(codes)
    for i in range(len(rows)):
        equal = (codes[i + 1 :] == codes[i]).sum(axis=1)
        count = (known[i + 1 :] & known[i]).sum(axis=1)
        for j in np.flatnonzero((equal > EQUAL_SHARE * count) & (count > 0)):
            share = float(equal[j] / count[j])
            yield Twins(rows[i], rows[i + 1 + j], share, int(count[j]))


def _outputs(row: Row) -> pd.DataFrame:
    """Codes of the outputs by seed, and (task, item)."""
    tables = {task: table for (task, column), table in row.items.items() if column == CODES}
    return pd.concat(tables, axis=1) if tables else pd.DataFrame()


def _grid(table: pd.DataFrame, seeds: Sequence[int | None], items: pd.MultiIndex) -> np.ndarray:
    """(seeds x items,) float64, NaN where there is none."""
    values = table.reindex(columns=items)
    alone = list(table.index) == [None]
    rows = values.loc[[None] * len(seeds)] if alone else values.reindex(seeds)
    return rows.to_numpy(np.float64).ravel()
