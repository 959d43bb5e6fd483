"""Parquet files as tables: the columns that are wanted, and of a row's cells all as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.json
import pyarrow.parquet

from compact_bench.errors import UserError


def read_table(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a table, of the named columns those that it has."""
    table = read_arrow(path, None if columns is None else columns.__contains__)
    return table.to_pandas(use_threads=False)


def read_arrow(path: Path, wanted: Callable[[str], bool] | None = None) -> pa.Table:
    """Read a table, or the wanted columns of it, without what pandas adds in time."""
    try:
        # One thread: cells are small, and thousands of them cost more to share out than to read.
        with pyarrow.parquet.ParquetFile(path) as file:
            names = [name for name in file.schema_arrow.names if wanted is None or wanted(name)]
            return file.read(columns=names, use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"cannot read {path}: {error}") from error
