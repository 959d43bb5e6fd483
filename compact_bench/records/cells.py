"""What a run writes and how it is read back: one folder per cell, every file written atomically."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.json
import pyarrow.parquet

from compact_bench.errors import UserError
from compact_bench.records.tables import read_arrow, read_table
from compact_bench.utils.files import plain, write_json, write_parquet, write_text

STATES = ("done", "skipped", "failed", "diverged", "pruned", "missing")

RECORD_FILES = (
    "spec.json",
    "env.json",
    "steps.parquet",
    "epiphany.parquet",
    "latent.parquet",
    "curve.parquet",
    "eval.parquet",
    "samples.jsonl",
    "status.json",
)

EVAL_COLUMNS = (
    "task",
    "task_version",
    "role",
    "split",
    "metric",
    "filter",
    "value",
    "stderr",
    "n",
    "stage",
    "chance",
)

# kind: "student" | "random" (a random change of the weights with the student's KL from the base) |
# "change" (of the weights, as a sketch that keeps inner products; layer -1). values: list of float.
LATENT_COLUMNS = ("kind", "layer", "task", "question_id", "values")

# kind: "checkpoint" (at: share of the training, 1 = trained) | "scale" (at: share of the change
# of the weights that is kept) | "relearned" (at: old examples that it was trained on afterwards).
CURVE_COLUMNS = ("kind", "at", "task", "role", "metric", "filter", "value", "n", "chance")

_ABSOLUTE = re.compile(r"(?<![\w.:/~])(?:/|[A-Za-z]:\\)(?:[^\s/\\'\":,;]+[/\\])+([^\s/\\'\":,;]*)")


def without_paths(value: Any) -> Any:
    """Cut absolute paths down to their last name, in a string or anywhere inside JSON.

    >>> without_paths("no such file: /home/me/models/tiny")
    'no such file: tiny'
    """
    if isinstance(value, str):
        return _ABSOLUTE.sub(r"\1", value)
    if isinstance(value, Mapping):
        return {key: without_paths(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_paths(item) for item in value]
    return value


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

    def steps(self, rows: Sequence[Mapping[str, Any]] | pd.DataFrame) -> None:
        """Write steps.parquet: one row per optimizer step, question and rationale."""
        write_parquet(self.folder / "steps.parquet", pd.DataFrame(rows))

    def epiphany(self, rows: Sequence[Mapping[str, Any]] | pd.DataFrame) -> None:
        """Write epiphany.parquet: question, rationale, step, gain."""
        write_parquet(self.folder / "epiphany.parquet", pd.DataFrame(rows))

    def latent(self, rows: Sequence[Mapping[str, Any]] | pd.DataFrame) -> None:
        """Write latent.parquet: states of probes and the change of the weights, LATENT_COLUMNS."""
        write_parquet(self.folder / "latent.parquet", pd.DataFrame(rows))

    def curve(self, rows: Sequence[Mapping[str, Any]] | pd.DataFrame) -> None:
        """Write curve.parquet: accuracy on the way to the trained student, CURVE_COLUMNS."""
        write_parquet(self.folder / "curve.parquet", pd.DataFrame(rows))

    def eval(self, rows: Sequence[Mapping[str, Any]] | pd.DataFrame) -> None:
        """Write eval.parquet: one metric a row, with the columns EVAL_COLUMNS."""
        frame = pd.DataFrame(rows, columns=None if len(rows) else list(EVAL_COLUMNS))
        for column in ("value", "stderr", "chance"):
            if column in frame:  # lm-eval says "N/A" where it has no standard error
                frame[column] = pd.to_numeric(frame[column], errors="coerce")
        write_parquet(self.folder / "eval.parquet", frame)

    def samples(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write samples.jsonl: one test item a line."""
        lines = [json.dumps(plain(row), ensure_ascii=False, allow_nan=False) for row in rows]
        write_text(self.folder / "samples.jsonl", "".join(line + "\n" for line in lines))

    def status(self, state: str, reason: str = "", **extra: Any) -> None:
        """Write status.json; ValueError for a state that isn't one of STATES."""
        if state not in STATES:
            raise ValueError(f"state is {state!r}; allowed: {', '.join(STATES)}")
        write_json(self.folder / "status.json", {"state": state, "reason": reason, **extra})


@dataclass(frozen=True)
class Cell:
    """One cell's records; the small JSON files are read at once, the tables when asked for."""

    run_id: str
    folder: Path
    spec: dict[str, Any] = field(default_factory=dict)
    env: dict[str, Any] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> str:
        """One of STATES."""
        return str(self.status.get("state", "missing"))

    def eval(self) -> pd.DataFrame:
        """eval.parquet, or an empty table with its columns."""
        return self._table("eval.parquet", EVAL_COLUMNS)

    def latent(self) -> pd.DataFrame:
        """latent.parquet, or an empty table with its columns."""
        return self._table("latent.parquet", LATENT_COLUMNS)

    def curve(self) -> pd.DataFrame:
        """curve.parquet, or an empty table with its columns."""
        return self._table("curve.parquet", CURVE_COLUMNS)

    def curve_table(self) -> pa.Table | None:
        """curve.parquet as a table of Arrow; None where there is none."""
        path = self.folder / "curve.parquet"
        return read_arrow(path) if path.exists() else None

    def _table(self, name: str, columns: Sequence[str]) -> pd.DataFrame:
        path = self.folder / name
        return read_table(path) if path.exists() else pd.DataFrame(columns=list(columns))

    def steps(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """steps.parquet (only the named columns, where given), or an empty table."""
        path = self.folder / "steps.parquet"
        wanted = None if columns is None else list(columns)
        frame = read_table(path, wanted) if path.exists() else pd.DataFrame()
        return frame if wanted is None else frame.reindex(columns=wanted)

    def items(self) -> pd.DataFrame:
        """The numbers of samples.jsonl: task, question_id, stage, right, marginal_nll."""
        return self.item_table().to_pandas()

    def item_table(self) -> pa.Table:
        """The same as a table of Arrow, which costs less where there are thousands of cells.

        Reads only these columns; thousands of cells would not fit with their output texts.
        """
        fields = {
            "task": pa.string(),
            "question_id": pa.string(),
            "stage": pa.string(),
            "right": pa.bool_(),
            "marginal_nll": pa.float64(),
        }
        path = self.folder / "samples.jsonl"
        if not path.exists() or path.stat().st_size == 0:
            return pa.schema(list(fields.items())).empty_table()
        options = pyarrow.json.ParseOptions(
            explicit_schema=pa.schema(list(fields.items())), unexpected_field_behavior="ignore"
        )
        size = max(1 << 20, path.stat().st_size + 1)
        block = pyarrow.json.ReadOptions(use_threads=False, block_size=size)
        try:
            return pyarrow.json.read_json(path, block, options)
        except pa.ArrowInvalid as error:
            raise UserError(f"cannot read {path}: {error}") from error

    def samples(self) -> list[dict[str, Any]]:
        """samples.jsonl in full, with the output texts."""
        path = self.folder / "samples.jsonl"
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


def read_cell(folder: Path) -> Cell:
    """Read one cell; records that can't be parsed make it a failed cell with that reason."""
    folder = Path(folder)
    try:
        spec, env, status = (_json(folder / f"{name}.json") for name in ("spec", "env", "status"))
    except (OSError, ValueError) as error:
        broken = {"state": "failed", "reason": f"the records can't be read: {error}"}
        return Cell(folder.name, folder, status=broken)
    return Cell(folder.name, folder, spec, env, status)


def read_cells(root: Path) -> list[Cell]:
    """Read every cell of results/<suite>/<profile>, in the order of their run ids."""
    runs = Path(root) / "runs"
    folders = sorted(path for path in runs.iterdir() if path.is_dir()) if runs.is_dir() else []
    return [read_cell(folder) for folder in folders if not folder.name.startswith(".")]


def status_of(folder: Path) -> str:
    """Say how a cell stands: one of STATES; "missing" where nothing has finished there."""
    return read_cell(folder).state
