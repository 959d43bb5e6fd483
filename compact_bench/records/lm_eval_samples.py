"""The answers that lm-eval writes with `--log_samples`: one table of metrics by question a run."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from compact_bench.errors import UserError

COLUMNS = ("filter", "metric", "doc_id", "value")
PATTERN = "samples_*.jsonl"


def sample_files(path: Path) -> list[Path]:
    """The runs that a path stands for: a file, or in a folder every samples_*.jsonl below it.

    In the order of their names. Raises UserError where there is none.
    """
    files = sorted(path.rglob(PATTERN)) if path.is_dir() else [path] if path.exists() else []
    if not files:
        raise UserError(f"no samples of lm-eval at {path}: name a {PATTERN}, or a folder of them")
    return files


def read_samples(path: Path) -> pd.DataFrame:
    """The numbers of one run: COLUMNS and the hash of the question, one metric a line.

    doc_id: int; value: float64. Metrics that are no numbers (lists that are summed up over the
    task) are left out. Raises UserError, with the line, for what lm-eval doesn't write.
    """
    rows: list[dict[str, Any]] = []
    with open(path, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                rows += _metrics(json.loads(line))
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                raise UserError(
                    f"{path}, line {number}: not a sample of lm-eval (doc_id, metrics and a value "
                    "for each of them)"
                ) from None
    if not rows:
        raise UserError(f"{path}: no sample with a metric that is a number")
    table = pd.DataFrame(rows)
    twice = table.duplicated(["filter", "metric", "doc_id"])
    if twice.any():
        where = table[twice].iloc[0]
        raise UserError(f"{path}: question {where['doc_id']} is there twice: two runs in one file?")
    return table


def _metrics(sample: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The metrics of one line that are numbers."""
    key = {
        "filter": str(sample.get("filter", "none")),
        "doc_id": int(sample["doc_id"]),
        "doc_hash": str(sample.get("doc_hash", "")),
    }
    for metric in sample["metrics"]:
        value = sample[metric]
        if isinstance(value, bool | int | float) and math.isfinite(value):
            yield key | {"metric": str(metric), "value": float(value)}
