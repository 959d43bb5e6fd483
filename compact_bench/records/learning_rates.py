"""Each row's learning rate, chosen on the dev split: the trials, their values, the winner."""

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
class RateTrial:
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
        return math.fsum(dev_value(cell, metric)[0] for cell in self.cells) / len(self.cells)

    def error(self, metric: str) -> float:
        """Standard error of the value over the dev questions; NaN where it is not known."""
        variances = [dev_value(cell, metric)[1] ** 2 for cell in self.cells]
        return math.sqrt(math.fsum(variances)) / len(variances)

    def cost(self, name: str) -> float:
        """A cost of status.json, summed over the cells; NaN where none has it."""
        costs = [cell.status.get(name) for cell in self.cells]
        known = [cost for cost in costs if cost is not None]
        return math.fsum(known) if known else math.nan


def dev_value(cell: Cell, metric: str) -> tuple[float, float]:
    """A metric of the in-domain task on the dev split, answers read strictly, and its error.

    Both are NaN for a cell that isn't done or can't be read.
    """
    try:
        frame = cell.eval() if cell.state == "done" else None
    except UserError:
        frame = None
    if frame is None or frame.empty:
        return math.nan, math.nan
    strict = frame[
        (frame["task"] == IN_DOMAIN)
        & (frame["split"] == "dev")
        & (frame["metric"] == metric)
        & frame["filter"].isin(["strict", "none"])
    ]
    values = strict[["value", "stderr"]].to_numpy(dtype=float)
    return (float(values[0, 0]), float(values[0, 1])) if len(values) else (math.nan, math.nan)


def rate_trials(
    entries: Iterable[Mapping[str, Any]], read: Callable[[str], Cell]
) -> list[RateTrial]:
    """Group cells (run_id, label, condition, learning_rate each) by row and learning rate."""
    groups: dict[tuple[Key, float], list[Cell]] = {}
    for entry in entries:
        key = (str(entry["label"]), str(entry.get("condition") or ""))
        groups.setdefault((key, float(entry["learning_rate"])), []).append(read(entry["run_id"]))
    return [RateTrial(key, rate, tuple(cells)) for (key, rate), cells in groups.items()]


def by_row(trials: Iterable[RateTrial]) -> dict[Key, list[RateTrial]]:
    """The trials of each row, in the order of the suite's learning rates."""
    rows: dict[Key, list[RateTrial]] = {}
    for trial in trials:
        rows.setdefault(trial.key, []).append(trial)
    return rows


def best(trials: Iterable[RateTrial], metric: str) -> RateTrial | None:
    """The trial of the best value; of equal ones that of the lowest marginal NLL, else the first.

    Two rates often answer equally many of a few hundred questions. None where none has a value.
    """
    known = []
    for trial in trials:
        value, nll = trial.value(metric), trial.value("marginal_nll")
        if not math.isnan(value):
            rank = METRICS[metric].better * value, -math.inf if math.isnan(nll) else -nll
            known.append((rank, trial))
    return max(known, key=lambda pair: pair[0], default=(None, None))[1]


def chosen(trials: Iterable[RateTrial], metric: str, otherwise: float) -> dict[Key, float]:
    """The learning rate of each row whose trials have all ended.

    otherwise: the rate of rows that no trial trained: they are skipped, or diverge, again.
    """
    ended = {k: row for k, row in by_row(trials).items() if all(trial.ended for trial in row)}
    winners = {key: best(row, metric) for key, row in ended.items()}
    return {key: winner.rate if winner else otherwise for key, winner in winners.items()}
