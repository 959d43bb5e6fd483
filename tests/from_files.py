"""Values of made-up records straight from their files, apart from the code that is tested."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from compact_bench.analysis import statistics
from compact_bench.analysis.statistics import Difference
from compact_bench.records.cells import read_cells
from compact_bench.report.parts import formats


def per_item(root: Path, label: str, task: str, column: str = "right") -> np.ndarray:
    """(seeds, items) of a row; the untrained student has one line."""
    rows = {}
    for cell in read_cells(root):
        if cell.spec["label"] == label:
            lines = sorted((x for x in cell.samples() if x["task"] == task),
                           key=lambda x: x["question_id"])  # fmt: skip
            rows[cell.spec["seed"] or 0] = [float(x[column]) for x in lines]
    return np.array([rows[seed] for seed in sorted(rows)])


def crossed_test(values: Mapping[str, np.ndarray], label: str, other: str) -> Difference:
    """The crossed test of a row against another, seeds pooled over all trained rows' values.

    values: by label (S,n); of the untrained row, "base", (1,n).
    """
    peers = [values[one] - values[other] for one in values if one not in (other, "base")]
    means = np.array([one.mean(axis=1) for one in peers])
    return statistics.crossed(values[label] - values[other], peers=means)


def by_seed(root: Path, label: str, task: str, metric: str = "accuracy") -> pd.Series:
    """Strict values of a row's finished cells by seed."""
    found = {}
    for cell in read_cells(root):
        if cell.spec["label"] == label and cell.state == "done":
            frame = pd.read_parquet(cell.folder / "eval.parquet")
            chosen = frame[(frame["task"] == task) & (frame["metric"] == metric)]
            found[cell.spec["seed"]] = chosen[chosen["filter"] != "flexible"]["value"].iloc[0]
    return pd.Series(found)


def curve(root: Path, label: str, seed: int | None) -> pd.Series:
    """(kind, at, task) -> accuracy of a cell's curve."""
    for cell in read_cells(root):
        if (cell.spec["label"], cell.spec["seed"]) == (label, seed):
            frame = pd.read_parquet(cell.folder / "curve.parquet")
            return frame.set_index(["kind", "at", "task"])["value"]
    raise AssertionError(label)


def joined_steps(root: Path, label: str) -> pd.DataFrame:
    """All step records of a row with what the bank says of each rationale."""
    bank = pd.read_parquet(root / "bank.parquet")
    bank["agreement"] = [
        ((bank["question_id"] == q) & (bank["answer"] == a)).sum() - 1
        for q, a in zip(bank["question_id"], bank["answer"], strict=True)
    ]
    frames = [
        pd.read_parquet(cell.folder / "steps.parquet").assign(seed=cell.spec["seed"])
        for cell in read_cells(root)
        if cell.spec["label"] == label
    ]
    frame = pd.concat(frames).merge(bank, on=["question_id", "teacher", "sample"])
    return frame.assign(shortness=-frame["rationale_tokens"], likelihood=-frame["nll"])


def csv_frame(table: formats.Table | None) -> pd.DataFrame:
    """A table's CSV, read back."""
    assert table is not None
    return pd.read_csv(io.StringIO(formats.csv(table)))
