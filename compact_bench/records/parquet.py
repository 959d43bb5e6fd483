"""Parquet files as tables of Arrow and pandas, and the tables of a row's cells as one.

Cells are joined in Arrow: a table of pandas for each of thousands takes too long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from compact_bench.errors import UserError

Seed = int | None

NO_SEED = -(2**62)  # stands for None where a column of integers is needed

Wanted = Callable[[str], bool]  # is the column of this name wanted?


def read_table(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a table, of the named columns those that it has."""
    table = read_arrow(path, None if columns is None else columns.__contains__)
    try:
        return table.to_pandas(use_threads=False)
    except (ValueError, LookupError, TypeError, pa.ArrowException) as error:  # of its metadata
        raise UserError(f"cannot read {path}: {error!r}") from error


def read_arrow(path: Path, wanted: Wanted | None = None) -> pa.Table:
    """Read a table, or the wanted columns of it, without what pandas adds in time."""
    try:
        # One thread: cells are small, and thousands of them cost more to share out than to read.
        with pyarrow.parquet.ParquetFile(path) as file:
            names = [name for name in file.schema_arrow.names if wanted is None or wanted(name)]
            return file.read(columns=names, use_threads=False)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(f"cannot read {path}: {error}") from error


# What columns of records hold, whichever table they are in.
TEXTS = frozenset(
    ("task", "metric", "filter", "role", "stage", "split", "question_id", "teacher", "kind")
)
NUMBERS = frozenset(
    ("value", "stderr", "n", "chance", "at", "step", "epoch", "loss", "lr", "seconds", "tokens",
     "supervised_tokens", "flops", "nll", "weight", "gain")
)  # fmt: skip


def check_columns(path: Path) -> None:
    """Raise UserError where a table can't be read or a known column holds another type.

    Only the table's end is read, which has the types.
    """
    try:
        schema = pyarrow.parquet.read_schema(path)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    for column in schema:
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        empty = pa.types.is_null(kind)
        wanted = "text" if column.name in TEXTS else "numbers"
        fits = text if wanted == "text" else number
        if column.name in TEXTS | NUMBERS and not (fits or empty):
            raise UserError(f"cannot read {path}: {column.name} holds {kind}, not {wanted}")


def select(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The schema's columns in its types; those that the table lacks are empty."""
    columns = [
        table[field.name].cast(field.type)
        if field.name in table.column_names
        else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


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
