"""The records of one cell: written to a folder of its own, read from there or from an archive."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.json

from compact_bench.errors import UserError
from compact_bench.records import integrity
from compact_bench.records.archive import FACTS, SAMPLES, archive_of
from compact_bench.records.parquet import Seed, Wanted, check_columns, joined, read_arrow, select
from compact_bench.utils.files import plain, write_json, write_parquet, write_text

STATES = ("done", "skipped", "failed", "diverged", "pruned", "missing")

EVAL_COLUMNS = ("task", "task_version", "role", "split", "metric", "filter", "value", "stderr", "n",
                "stage", "chance")  # fmt: skip

# kind: "student" | "random" (a random change of the weights with the student's KL from the base) |
# "change" (of the weights, as a sketch that keeps inner products; layer -1). values: list of float.
LATENT_COLUMNS = ("kind", "layer", "task", "question_id", "values")

# kind: "checkpoint" (at: share of the training, 1 = trained) | "scale" (at: share of the change
# of the weights that is kept) | "relearned" (at: old examples that it was trained on afterwards).
CURVE_COLUMNS = ("kind", "at", "task", "role", "metric", "filter", "value", "n", "chance")

DAMAGED = "damaged"  # of a status that stands for records which can't be read

_ABSOLUTE = re.compile(r"(?<![\w.:/~])(?:/|[A-Za-z]:\\)(?:[^\s/\\'\":,;]+[/\\])+([^\s/\\'\":,;]*)")


def without_paths(value: Any, path_keys: Sequence[str] = ()) -> Any:
    """Cut absolute paths down to their last name, in a string or anywhere inside JSON.

    path_keys: of these keys relative paths are cut, too.

    >>> without_paths("no such file: /home/me/models/tiny")
    'no such file: tiny'
    """
    if isinstance(value, str):
        return _ABSOLUTE.sub(r"\1", value)
    if isinstance(value, list):
        return [without_paths(item, path_keys) for item in value]
    if not isinstance(value, Mapping):
        return value
    return {
        key: _last_name(item) if key in path_keys else without_paths(item, path_keys)
        for key, item in value.items()
    }


def _last_name(value: Any) -> Any:
    """A path's last name; of a list of them, each."""
    if isinstance(value, list):
        return [_last_name(item) for item in value]
    if isinstance(value, str) and value.startswith((".", "/", "~")):
        return Path(value).name
    return without_paths(value)


class CellWriter:
    """Writes one cell's records; `status` comes last, so a folder with a status is complete."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def spec(self, spec: Mapping[str, Any]) -> None:
        """Write spec.json: what was asked."""
        write_json(self.folder / "spec.json", spec)

    def env(self, env: Mapping[str, Any]) -> None:
        """Write env.json: versions, git commit, machine, threads, device."""
        write_json(self.folder / "env.json", env)

    def table(self, kind: str, rows: Sequence[Mapping[str, Any]] | pd.DataFrame) -> None:
        """Write KIND.parquet.

        steps: one row per optimizer step, question and rationale. epiphany: question, rationale,
        step, gain. latent: states of probes and the change of the weights, LATENT_COLUMNS. curve:
        accuracy on the way to the trained student, CURVE_COLUMNS.
        """
        write_parquet(self.folder / f"{kind}.parquet", pd.DataFrame(rows))

    def eval(self, rows: Sequence[Mapping[str, Any]] | pd.DataFrame) -> None:
        """Write eval.parquet: one metric a row, with the columns EVAL_COLUMNS."""
        frame = pd.DataFrame(rows, columns=None if len(rows) else list(EVAL_COLUMNS))
        for column in ("value", "stderr", "chance"):
            if column in frame:  # lm-eval says "N/A" where it has no standard error
                frame[column] = pd.to_numeric(frame[column], errors="coerce")
        self.table("eval", frame)

    def samples(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write samples.jsonl: one test item a line."""
        lines = [json.dumps(plain(row), ensure_ascii=False, allow_nan=False) for row in rows]
        write_text(self.folder / "samples.jsonl", "".join(line + "\n" for line in lines))

    def checksums(self) -> dict[str, dict[str, Any]]:
        """Size and SHA-256 of every record that is there, by its file's name: for `status`."""
        return integrity.checksums(self.folder)

    def status(self, state: str, reason: str = "", **extra: Any) -> None:
        """Write status.json; ValueError for a state that isn't one of STATES.

        With `records`, what `checksums` returns, the cell is read only while they hold.
        """
        if state not in STATES:
            raise ValueError(f"state is {state!r}; allowed: {', '.join(STATES)}")
        write_json(self.folder / "status.json", {"state": state, "reason": reason, **extra})


# The columns of samples.jsonl that tables are made of.
_ITEMS = pa.schema(
    {
        "task": pa.string(),
        "question_id": pa.string(),
        "stage": pa.string(),
        "right": pa.bool_(),
        "marginal_nll": pa.float64(),
        "output": pa.string(),
    }
)


@dataclass(frozen=True)
class Cell:
    """One cell's records; the small ones are read at once, the tables when asked for.

    folder: where a live run keeps them, root/runs/run_id.  Of a cell that has no folder the
    archive beside `runs` (records/archive.py) may hold them.
    """

    run_id: str
    folder: Path
    spec: dict[str, Any] = field(default_factory=dict)
    env: dict[str, Any] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> str:
        """One of STATES."""
        state = str(self.status.get("state", "missing"))
        return state if state in STATES else "failed"

    def table(self, kind: str, wanted: Wanted | None = None) -> pa.Table | None:
        """The record of this kind (one of TABLES), or the wanted columns of it; None without one.

        Raises UserError where it can't be read.
        """
        path = self.folder / f"{kind}.parquet"
        if path.exists():
            return read_arrow(path, wanted)
        archive = archive_of(self.folder)
        return archive.table(self.run_id, kind, wanted) if archive else None

    def eval(self) -> pd.DataFrame:
        """The evaluation's values, or an empty table with the same columns."""
        frame = self.frame("eval")
        return pd.DataFrame(columns=list(EVAL_COLUMNS)) if frame.empty else frame

    def frame(self, kind: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """The record of this kind (only the named columns, where given), or an empty table."""
        table = self.table(kind, None if columns is None else columns.__contains__)
        # One thread: a fork would lose the others.
        frame = pd.DataFrame() if table is None else table.to_pandas(use_threads=False)
        return frame if columns is None else frame.reindex(columns=list(columns))

    def steps(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """The training steps (only the named columns, where given), or an empty table."""
        return self.frame("steps", columns)

    def item_table(self) -> pa.Table:
        """The numbers of the samples: task, question_id, stage, right, marginal_nll, output_code.

        output_code: equal for equal outputs, null without one; the texts of thousands of cells
        would not fit into memory.
        """
        path = self.folder / "samples.jsonl"
        if not path.exists():
            table = self.table(SAMPLES, _ITEMS.names.__contains__)
            return _with_codes(_ITEMS.empty_table() if table is None else select(table, _ITEMS))
        content = path.read_bytes()
        if not content:
            return _with_codes(_ITEMS.empty_table())
        if not all(line.lstrip().startswith(b"{") for line in content.split(b"\n") if line):
            # Arrow ends the process where a line is null.
            raise UserError(f"cannot read {path}: a line holds no object")
        size = max(1 << 20, len(content) + 1)
        parse = pyarrow.json.ParseOptions(_ITEMS, unexpected_field_behavior="ignore")
        block = pyarrow.json.ReadOptions(use_threads=False, block_size=size)
        try:
            table = pyarrow.json.read_json(pa.BufferReader(content), block, parse)
        except pa.ArrowInvalid as error:
            raise UserError(f"cannot read {path}: {error}") from error
        if table["question_id"].null_count or table["task"].null_count:
            raise UserError(f"cannot read {path}: a line has no task or no question_id")
        return _with_codes(table)

    def check(self) -> None:
        """Raise UserError where a record can't be read, or a column holds another type.

        Only where the records have no checksums, as older ones: others are what was written.
        """
        if not (self.status.get("records") or self.status.get(DAMAGED)):
            for path in sorted(self.folder.glob("*.parquet")):
                check_columns(path)
            if (self.folder / "samples.jsonl").exists():
                self.item_table()

    def samples(self) -> list[dict[str, Any]]:
        """Every test item in full, with the output texts; what one lacks may be None."""
        path = self.folder / "samples.jsonl"
        if path.exists():
            return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
        table = self.table(SAMPLES)
        return [] if table is None else table.to_pylist()


def _with_codes(table: pa.Table) -> pa.Table:
    """The table with a hash in place of each output: 53 bits, which a float holds exactly."""
    texts = table["output"].combine_chunks().dictionary_encode()
    words = np.array(texts.dictionary.to_pylist(), dtype=object)
    codes = (pd.util.hash_array(words, categorize=False) >> 11).astype(np.int64)
    place = texts.indices
    column = pa.array(codes).take(place) if len(codes) else pa.nulls(len(table), pa.int64())
    return table.drop_columns("output").append_column("output_code", column)


def read_cell(folder: Path) -> Cell:
    """Read one cell of root/runs, or of the archive in root where it has no folder there.

    Records that can't be parsed, or aren't those that the cell was recorded with, make it a failed
    cell with that reason, which the next run does again; where nothing has finished, its state is
    "missing".
    """
    folder = Path(folder)
    try:
        if not folder.exists() and (archive := archive_of(folder)):
            return Cell(folder.name, folder, *archive.facts(folder.name))
        facts = [_fact(f"{folder}/{name}.json") for name in FACTS]
    except (OSError, ValueError, RecursionError) as error:
        return _damaged(folder, f"the records can't be read: {error}")
    if damage := integrity.damage_of(folder, facts[-1].get("records")):
        return _damaged(folder, f"the records were damaged since: {damage}")
    return Cell(folder.name, folder, *facts)


def _damaged(folder: Path, reason: str) -> Cell:
    return Cell(folder.name, folder, status={"state": "failed", "reason": reason, DAMAGED: True})


def _fact(path: str) -> dict[str, Any]:
    """A file of FACTS; empty where it isn't there. Reports read three for each of thousands."""
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except FileNotFoundError:
        return {}
    if not isinstance(content, dict):
        raise ValueError(f"{os.path.basename(path)} holds no JSON object")
    return content


def cell_reader(root: Path) -> Callable[[str], Cell]:
    """`read_cell` by run id for the cells of results/<suite>/<profile> as they are now.

    What is there is listed once: of 9,860 cells that aren't there, asking the disk for each takes
    0.4 processor seconds, this 0.1.
    """
    runs = Path(root) / "runs"
    folders = set(os.listdir(runs)) if runs.is_dir() else set()
    archived = archive_of(runs / "any") is not None

    def read(run_id: str) -> Cell:
        known = archived or run_id in folders
        return read_cell(runs / run_id) if known else Cell(run_id, runs / run_id)

    return read


def read_cells(root: Path) -> list[Cell]:
    """Read every cell of results/<suite>/<profile>, in the order of their run ids."""
    runs = Path(root) / "runs"
    folders = os.scandir(runs) if runs.is_dir() else ()
    names = {item.name for item in folders if item.is_dir() and not item.name.startswith(".")}
    if archive := archive_of(runs / "any"):
        names.update(archive.cells)
    return [read_cell(runs / name) for name in sorted(names)]


def joined_steps(cells: Mapping[Seed, Cell], wanted: Wanted, needed: set[str]) -> pd.DataFrame:
    """The wanted columns of the cells' step records; cells without all needed ones are left out."""
    tables = {seed: cell.table("steps", wanted) for seed, cell in cells.items()}
    return joined(
        (seed, table)
        for seed, table in tables.items()
        if table is not None and needed <= set(table.column_names)
    )
