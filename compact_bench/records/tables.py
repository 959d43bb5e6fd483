"""Parquet files as tables of Arrow and pandas, of the columns that are wanted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from compact_bench.errors import UserError

Wanted = Callable[[str], bool]  # is the column of this name wanted?


def read_table(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a table, of the named columns those that it has."""
    table = read_arrow(path, None if columns is None else columns.__contains__)
    return table.to_pandas(use_threads=False)


def read_arrow(path: Path, wanted: Wanted | None = None) -> pa.Table:
    """Read a table, or the wanted columns of it, without what pandas adds in time."""
    try:
        # One thread: cells are small, and thousands of them cost more to share out than to read.
        with pyarrow.parquet.ParquetFile(path) as file:
            names = [name for name in file.schema_arrow.names if wanted is None or wanted(name)]
            return file.read(columns=names, use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"cannot read {path}: {error}") from error


def select(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The schema's columns in its types; those that the table lacks are empty."""
    columns = [
        table[field.name].cast(field.type)
        if field.name in table.column_names
        else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)
