"""Published cells: one Parquet file for each kind of record, all cells of a suite below each other.

A live run writes a folder a cell, so that cells end in any order and a kill loses one at most. What
is published doesn't change any more: a thousand folders become a handful of files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from compact_bench.errors import UserError
from compact_bench.records.parquet import Wanted, read_arrow
from compact_bench.utils.files import write_parquet

FILE = "cells.parquet"  # a cell a row: run_id, FACTS as JSON, and the columns of each of its TABLES
FACTS = ("spec", "env", "status")
SAMPLES = "samples"
TABLES = ("steps", "epiphany", "latent", "curve", "eval", SAMPLES)
RUN_ID = "run_id"
LEVEL = 19  # of zstd: written once, and a sixth smaller than at its usual level
Read = Callable[[str, str], pa.Table | None]  # run id, one of TABLES -> that record, if it is there


def write_archive(root: Path, facts: Mapping[str, Sequence[Any]], read: Read) -> list[Path]:
    """Write an archive of cells, in the order of `facts`: run id -> its FACTS; return its files.

    Tables are written one after the other: all of them at once might not fit into memory.
    """
    columns: dict[str, list[Sequence[str] | None]] = {}
    paths = []
    for kind in TABLES:
        tables = {run_id: read(run_id, kind) for run_id in facts}
        columns[kind] = [table and table.column_names for table in tables.values()]
        rows = [
            table.append_column(RUN_ID, pa.repeat(run_id, len(table))).replace_schema_metadata()
            for run_id, table in tables.items()
            if table is not None
        ]
        if rows:
            whole = _joined(rows, kind)
            paths.append(write_parquet(Path(root) / f"{kind}.parquet", whole, LEVEL))
    texts = {
        name: [json.dumps(fact[i], sort_keys=True, ensure_ascii=False) for fact in facts.values()]
        for i, name in enumerate(FACTS)
    }
    lists = {kind: pa.array(names, pa.list_(pa.string())) for kind, names in columns.items()}
    index = pa.table({RUN_ID: list(facts)} | texts | lists)
    return [write_parquet(Path(root) / FILE, index, LEVEL), *paths]


def _joined(tables: Sequence[pa.Table], kind: str) -> pa.Table:
    """Tables below each other; UserError where a column is text in one and numbers in another."""
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise UserError(f"the cells' {kind} records don't fit together: {error}") from error


class Archive:
    """The archive of one folder; of its tables it keeps the columns that were asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cells = {cell[RUN_ID]: cell for cell in read_arrow(root / FILE).to_pylist()}
        self._whole: dict[tuple[str, ...], tuple[pa.Table, dict[str, tuple[int, int]]]] = {}

    def facts(self, run_id: str) -> tuple[dict[str, Any], ...]:
        """A cell's spec, env and status; empty where it isn't in the archive."""
        cell = self.cells.get(run_id)
        return tuple(json.loads(cell[name]) if cell else {} for name in FACTS)

    def table(self, run_id: str, kind: str, wanted: Wanted | None = None) -> pa.Table | None:
        """A cell's record of a kind, or the wanted columns of it; None where it has none."""
        cell = self.cells.get(run_id)
        if cell is None or cell[kind] is None:
            return None
        names = [name for name in cell[kind] if wanted is None or wanted(name)]
        table, places = self._read(kind, wanted)
        first, count = places.get(run_id, (0, 0))
        return table.select(names).slice(first, count)

    def _read(
        self, kind: str, wanted: Wanted | None
    ) -> tuple[pa.Table, dict[str, tuple[int, int]]]:
        """The wanted columns of all cells, and from where on how many rows are each cell's."""
        known = {name for cell in self.cells.values() for name in cell[kind] or ()}
        names = tuple(sorted(name for name in known if wanted is None or wanted(name)))
        if (kind, *names) not in self._whole:
            table = read_arrow(self.root / f"{kind}.parquet", {*names, RUN_ID}.__contains__)
            self._whole[kind, *names] = table.drop_columns(RUN_ID).combine_chunks(), _places(table)
        return self._whole[kind, *names]


def _places(table: pa.Table) -> dict[str, tuple[int, int]]:
    """Of each cell the first row and the number of rows; a cell's rows stand together."""
    runs = table[RUN_ID].combine_chunks().dictionary_encode()
    ids, codes = runs.dictionary.to_pylist(), runs.indices.to_numpy()
    firsts = np.flatnonzero(np.diff(codes, prepend=-1))
    counts = np.diff(firsts, append=len(codes))
    return {
        ids[codes[first]]: (int(first), int(count))
        for first, count in zip(firsts, counts, strict=True)
    }


def archive_of(folder: Path) -> Archive | None:
    """The archive that holds a cell of this folder, root/runs/run_id; None where root has none."""
    path = folder.parent.parent / FILE
    try:
        stat = path.stat()
    except OSError:
        return None
    return _open(path.parent, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=4)  # `compare` reads two folders, and each cell asks for its archive
def _open(root: Path, *unchanged: int) -> Archive:
    return Archive(root)
