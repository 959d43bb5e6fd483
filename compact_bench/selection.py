"""Each row's learning rate, chosen on the dev split: what was tried, what it gave, which won."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from compact_bench.measures import METRICS
from compact_bench.records import Cell

IN_DOMAIN = "in_domain"
Key = tuple[str, str]  # label of a row, name of a condition or ""


@dataclass(frozen=True)
class Tried:
    """One learning rate of one row: its cells, one a seed."""

    key: Key
    rate: float
    cells: tuple[Cell, ...]

    @property
    def ended(self) -> bool:
        """Whether every cell has ended, well or not."""
        return all(cell.state != "missing" for cell in self.cells)

    def value(self, metric: str) -> float:
        """The metric on the dev split, mean over seeds; NaN unless every seed was trained."""
        found = [dev_value(cell, metric) for cell in self.cells]
        return math.fsum(found) / len(found)

    def spent(self, name: str) -> float:
        """A cost of status.json, summed over the cells; NaN where none has it."""
        found = [cell.status[name] for cell in self.cells if cell.status.get(name) is not None]
        return math.fsum(found) if found else math.nan


def dev_value(cell: Cell, metric: str) -> float:
    """A metric of the in-domain task on the dev split, answers taken strictly; NaN without one."""
    if cell.state != "done":
        return math.nan
    frame = cell.eval()
    asked = frame[
        (frame["task"] == IN_DOMAIN) & (frame["split"] == "dev") & (frame["metric"] == metric)
    ]
    found = asked[asked["filter"].isin(["strict", "none"])]["value"].tolist()
    return float(found[0]) if found else math.nan


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

    otherwise: the rate of rows that none of them trained (they are skipped, or fail, again).
    """
    chosen = {}
    for key, candidates in by_row(found).items():
        if all(one.ended for one in candidates):
            won = best(candidates, metric)
            chosen[key] = won.rate if won else otherwise
    return chosen
