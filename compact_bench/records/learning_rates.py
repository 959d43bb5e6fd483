"""Each row's learning rate, chosen on the dev split: what was tried, what it gave, which won."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from compact_bench.errors import UserError
from compact_bench.records.cells import Cell
from compact_bench.suite.metrics import METRICS
from compact_bench.suite.schema import IN_DOMAIN

# A cell that failed is tried again: its row waits for it, lest it choose among fewer.
ENDED = ("done", "skipped", "diverged")

Key = tuple[str, str]  # label of a row, name of a condition or ""


@dataclass(frozen=True)
class Tried:
    """One learning rate of one row: its cells, one a seed."""

    key: Key
    rate: float
    cells: tuple[Cell, ...]

    @property
    def ended(self) -> bool:
        """Whether no cell is to be run any more."""
        return all(cell.state in ENDED for cell in self.cells)

    def value(self, metric: str) -> float:
        """The metric on the dev split, mean over seeds; NaN unless every seed was trained."""
        found = [dev_value(cell, metric)[0] for cell in self.cells]
        return math.fsum(found) / len(found)

    def error(self, metric: str) -> float:
        """Standard error of the value over the dev questions; NaN where it is not known."""
        found = [dev_value(cell, metric)[1] for cell in self.cells]
        return math.sqrt(math.fsum(one**2 for one in found)) / len(found)

    def spent(self, name: str) -> float:
        """A cost of status.json, summed over the cells; NaN where none has it."""
        found = [cell.status[name] for cell in self.cells if cell.status.get(name) is not None]
        return math.fsum(found) if found else math.nan


def dev_value(cell: Cell, metric: str) -> tuple[float, float]:
    """A metric of the in-domain task on the dev split, answers taken strictly, and its error.

    Both are NaN for a cell that isn't done or can't be read.
    """
    try:
        frame = cell.eval() if cell.state == "done" else None
    except UserError:
        frame = None
    if frame is None or frame.empty:
        return math.nan, math.nan
    asked = frame[
        (frame["task"] == IN_DOMAIN) & (frame["split"] == "dev") & (frame["metric"] == metric)
    ]
    found = asked[asked["filter"].isin(["strict", "none"])]
    values = found[["value", "stderr"]].to_numpy(dtype=float)
    return (float(values[0, 0]), float(values[0, 1])) if len(values) else (math.nan, math.nan)


def tried(entries: Iterable[Mapping[str, Any]], read: Callable[[str], Cell]) -> list[Tried]:
    """Group cells (run_id, label, condition, learning_rate each) by row and learning rate."""
    groups: dict[tuple[Key, float], list[Cell]] = {}
    for entry in entries:
        key = (str(entry["label"]), str(entry.get("condition") or ""))
        groups.setdefault((key, float(entry["learning_rate"])), []).append(read(entry["run_id"]))
    return [Tried(key, rate, tuple(found)) for (key, rate), found in groups.items()]


def by_row(found: Iterable[Tried]) -> dict[Key, list[Tried]]:
    """What each row tried, in the order of the suite's learning rates."""
    rows: dict[Key, list[Tried]] = {}
    for one in found:
        rows.setdefault(one.key, []).append(one)
    return rows


def best(candidates: Iterable[Tried], metric: str) -> Tried | None:
    """The candidate of the best value, the first of equal ones; None where none has a value."""
    direction = METRICS[metric].better
    known = [one for one in candidates if not math.isnan(one.value(metric))]
    return max(known, key=lambda one: direction * one.value(metric), default=None)


def rates(found: Iterable[Tried], metric: str, otherwise: float) -> dict[Key, float]:
    """The learning rate of each row whose candidates have all ended.

    otherwise: the rate of rows that no candidate trained: they are skipped, or diverge, again.
    """
    chosen = {}
    for key, candidates in by_row(found).items():
        if all(one.ended for one in candidates):
            won = best(candidates, metric)
            chosen[key] = won.rate if won else otherwise
    return chosen
