"""The tables of a row's cells as one: a table of pandas for each of thousands takes too long."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
import pyarrow as pa

from compact_bench.records.cells import Cell
from compact_bench.records.tables import Wanted

Seed = int | None
NO_SEED = -(2**62)  # stands for None where a column of integers is needed


def joined(tables: Iterable[tuple[Seed, pa.Table | None]]) -> pd.DataFrame:
    """All cells' tables below each other with a column `seed`; what a cell lacks is empty there."""
    found = [(seed, table) for seed, table in tables if table is not None and len(table)]
    if not found:
        return pd.DataFrame()
    whole = pa.concat_tables([table for _, table in found], promote_options="permissive")
    seeds = np.array([NO_SEED if seed is None else seed for seed, _ in found], dtype=np.int64)
    frame = whole.to_pandas(use_threads=False)  # a fork would lose them
    frame["seed"] = np.repeat(seeds, [len(table) for _, table in found])
    return frame


def steps(cells: Mapping[Seed, Cell], wanted: Wanted, needed: set[str]) -> pd.DataFrame:
    """The wanted columns of the cells' step records; cells without all needed ones are left out."""
    tables = {seed: cell.table("steps", wanted) for seed, cell in cells.items()}
    return joined(
        (seed, table)
        for seed, table in tables.items()
        if table is not None and needed <= set(table.column_names)
    )


def by_seed_and_item(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """A row a seed and a column a question, both sorted; the mean where one was asked twice."""
    seed, seeds = pd.factorize(frame["seed"], sort=True)
    item, items = pd.factorize(frame["question_id"], sort=True)
    place = seed * len(items) + item
    size = len(seeds) * len(items)
    counts = np.bincount(place, minlength=size)
    sums = np.bincount(place, weights=frame[column].to_numpy(np.float64), minlength=size)
    found = np.divide(sums, counts, out=np.full(size, np.nan), where=counts > 0)
    return pd.DataFrame(
        found.reshape(len(seeds), len(items)),
        index=pd.Index([None if s == NO_SEED else int(s) for s in seeds], dtype=object),
        columns=pd.Index(items, name="question_id"),
    )
