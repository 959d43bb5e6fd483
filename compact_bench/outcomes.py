"""Rows of results: which value each method has, by task, metric and seed, and how they differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from compact_bench import stats
from compact_bench.joining import Seed, by_seed_and_item, joined
from compact_bench.measures import HEADLINES, Measure
from compact_bench.records import Cell, Plan, without_paths
from compact_bench.selection import Tried


def last_stage(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Keep "after" rows where there are any; an untrained student only has "before" ones."""
    after = frame["stage"].ne("before")
    if after.all() or not after.any():
        return frame  # the rule for thousands of cells, without asking each item
    trained = after.groupby([frame[key] for key in keys]).transform("any")
    return frame[after | ~trained]


@dataclass(frozen=True)
class Row:
    """One row of a table: a method with its settings under one condition, over all its seeds.

    `label` is what tables show, and unique; `name` is the suite's label, which a row has under
    every condition.
    """

    label: str
    method: str
    cells: Mapping[Seed, Cell]
    uses_gold: bool | None = None
    values: Mapping[Measure, Mapping[Seed, float]] = field(default_factory=dict)
    condition: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or self.label)

    @cached_property
    def done(self) -> dict[Seed, Cell]:
        """The cells that finished, by seed."""
        return {seed: cell for seed, cell in self.cells.items() if cell.state == "done"}

    @property
    def complete(self) -> bool:
        """Whether every planned cell finished."""
        return len(self.done) == len(self.cells)

    @cached_property
    def trained(self) -> bool:
        """Whether any of its cells was trained; a pass that only scores reads tokens, too."""
        return any(cell.status.get("supervised_tokens") for cell in self.done.values())

    @property
    def teacher(self) -> str:
        """The one teacher that all its cells are trained on, as their settings say; else ""."""
        settings = [cell.spec.get("config") or {} for cell in self.done.values()]
        named = {str(one.get("teacher") or "") for one in settings}
        return named.pop() if len(named) == 1 else ""

    def summary(self, measure: Measure) -> stats.Summary:
        """Mean and sd of a measure over the seeds that finished."""
        return stats.summarise(list(self.values.get(measure, {}).values()))

    def cost(self, name: str) -> stats.Summary:
        """Mean and sd over seeds of a number of status.json."""
        return stats.summarise([_number(cell.status.get(name)) for cell in self.done.values()])

    @cached_property
    def items(self) -> dict[tuple[str, str], pd.DataFrame]:
        """(task, column of samples.jsonl) -> seed x item table of per-item values."""
        everything = joined((seed, cell.item_table()) for seed, cell in self.done.items())
        tables: dict[tuple[str, str], pd.DataFrame] = {}
        if everything.empty:
            return tables
        everything = last_stage(everything, ["seed", "task", "question_id"])
        for column in ("right", "marginal_nll"):
            known = everything.dropna(subset=[column]).astype({column: float})
            for task, group in known.groupby("task", sort=False):
                tables[str(task), column] = by_seed_and_item(group, column)
        return tables

    def problems(self) -> list[str]:
        """Why cells are not done, one line for each reason, with the seeds that it befell."""
        found: dict[tuple[str, str], list[str]] = {}
        for seed, cell in self.cells.items():
            if cell.state != "done":
                reason = " ".join(str(without_paths(cell.status.get("reason") or "")).split())
                seeds = found.setdefault((cell.state, reason), [])
                seeds += [] if seed is None else [str(seed)]
        return [_problem(state, reason, seeds) for (state, reason), seeds in found.items()]


def _problem(state: str, reason: str, seeds: list[str]) -> str:
    where = f" (seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)})" if seeds else ""
    said = {"missing": "not run yet"}.get(state, state)
    return f"{said}{where}" + (f": {reason}" if reason else "")


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else stats.NAN


@dataclass(frozen=True)
class Results:
    """All rows of one suite and profile, in the suite's order."""

    plan: Plan
    rows: tuple[Row, ...]
    measures: tuple[Measure, ...]
    before: Mapping[Measure, float]
    chance: Mapping[Measure, float]
    n_items: Mapping[Measure, int]
    splits: tuple[str, ...]
    teachers: tuple[str, ...] = ()
    bank: pd.DataFrame = field(default_factory=pd.DataFrame, compare=False)
    tries: tuple[Tried, ...] = ()  # the learning rates that were tried on the dev split
    clean: Mapping[str, bool] = field(default_factory=dict)  # template-clean, by question_id

    @property
    def suite(self) -> dict[str, Any]:
        """The resolved suite."""
        return self.plan.suite

    @property
    def seeds(self) -> list[int]:
        """The planned seeds."""
        found = {cell.get("seed") for cell in self.plan.cells}
        return sorted(seed for seed in found if seed is not None)

    @property
    def conditions(self) -> list[dict[str, Any]]:
        """The suite's conditions; none where all rows have the same training data."""
        return list(self.suite.get("conditions") or ())

    @property
    def key_columns(self) -> list[str]:
        """The columns that say which row it is, in a table of numbers."""
        return ["label", "condition"] if self.conditions else ["label"]

    def key(self, row: Row) -> dict[str, str]:
        """What says which row it is in a table of numbers."""
        values = {"label": row.name, "condition": row.condition}
        return {column: values[column] for column in self.key_columns}

    def named(self, wanted: str, condition: str = "") -> Row | None:
        """The row of this label, or else method, under a condition.

        A row that needs no training, and so has no condition, stands for every condition.
        """
        by_label = [row for row in self.rows if row.name == wanted]
        found = by_label or [row for row in self.rows if row.method == wanted]
        here = [row for row in found if row.condition == condition]
        return next(iter(here or [row for row in found if not row.condition]), None)

    @cached_property
    def reference(self) -> Row | None:
        """The row that others are compared to, under the first condition."""
        names = [""] + [str(one["name"]) for one in self.conditions]
        found = (self.named(str(self.suite.get("compare_to")), name) for name in names)
        return next((row for row in found if row), None)

    def reference_of(self, row: Row) -> Row | None:
        """The row that a row is compared to: the one of the same condition."""
        return self.named(str(self.suite.get("compare_to")), row.condition)

    @cached_property
    def main_measures(self) -> list[Measure]:
        """A headline for each task, and the answer's marginal NLL beside reasoning accuracy."""
        chosen = []
        for role in dict.fromkeys(measure.role for measure in self.measures):
            for headline in self.headlines(role):
                chosen.append(headline)
                chosen += [
                    m
                    for m in self.measures
                    if m.task == headline.task and m.metric == "marginal_nll" and m != headline
                ]
        return chosen

    def headline(self, task: str) -> Measure | None:
        """The measure that stands for a task."""
        found = [measure for measure in self.measures if measure.task == task]
        ranked = [measure for name in HEADLINES for measure in found if measure.metric == name]
        return next(iter(ranked or found), None)

    def headlines(self, role: str) -> list[Measure]:
        """One measure a task, of the tasks with this role."""
        tasks = dict.fromkeys(m.task for m in self.measures if m.role == role)
        return [measure for task in tasks if (measure := self.headline(task))]

    def kept(self, row: Row, measure: Measure) -> dict[Seed, float]:
        """Retention of a forgetting measure by seed, against the student before training."""
        before = self.before.get(measure, stats.NAN)
        chance = self.chance.get(measure, 0.0)
        values = row.values.get(measure, {})
        return {seed: stats.retention(value, before, chance) for seed, value in values.items()}

    def kept_mean(self, row: Row) -> dict[Seed, float]:
        """Retention by seed, averaged over the forgetting tasks."""
        found = [self.kept(row, measure) for measure in self.headlines("forgetting")]
        means = {}
        for seed in row.done:
            values = [kept[seed] for kept in found if np.isfinite(kept.get(seed, stats.NAN))]
            means[seed] = float(np.mean(values)) if values else stats.NAN
        return means

    def difference(self, row: Row, measure: Measure) -> stats.Difference | None:
        """Compare a row to the reference row; None for that row itself or where either is empty."""
        other = self.reference_of(row)
        if other is None or row.label == other.label:
            return None
        key = (row.label, measure)
        if key not in self._differences:
            self._differences[key] = difference(row, other, measure)
        return self._differences[key]

    @cached_property
    def _differences(self) -> dict[tuple[str, Measure], stats.Difference | None]:
        """What was compared already: tables, captions and the page ask for the same."""
        return {}

    @cached_property
    def computed(self) -> dict[str, Any]:
        """What else was computed already of these results, by the name of who computes it."""
        return {}


def difference(
    row: Row, other: Row, measure: Measure, one_seed: bool = False
) -> stats.Difference | None:
    """Paired difference row - other: crossed test where there are two seeds and per-item values.

    With `one_seed`, a single common seed is tested over its items.
    None where they have no seed in common.
    """
    left, right = row.values.get(measure, {}), other.values.get(measure, {})
    pairs = _pairs(left, right)
    if not pairs:
        return None
    values = item_differences(row, other, measure)
    if values is None:
        mean = float(np.mean([left[a] - right[b] for a, b in pairs]))
        return stats.Difference(mean, seeds=len(pairs))
    if len(values) > 1:
        return stats.crossed(values)
    if one_seed:
        return stats.over_items(values[0])
    mean = float(np.mean([left[a] - right[b] for a, b in pairs]))
    return stats.Difference(mean, seeds=1, items=values.shape[1])


def _pairs(left: Mapping[Seed, float], right: Mapping[Seed, float]) -> list[tuple[Seed, Seed]]:
    """Seeds to compare: equal ones, or each seed with the one run that has none."""
    if None in left and None in right:
        return [(None, None)]
    if None in left:
        return [(None, seed) for seed in right]
    if None in right:
        return [(seed, None) for seed in left]
    return [(seed, seed) for seed in left if seed in right]


def item_differences(row: Row, other: Row, measure: Measure) -> np.ndarray | None:
    """Paired differences row - other by seed and item, (S,n) float64; None where there are none.

    Per-item values that don't average to the recorded value belong to another filter, and are
    not used.
    """
    left, right = row.values.get(measure, {}), other.values.get(measure, {})
    pairs = _pairs(left, right)
    key = measure.task, measure.shown.item_column
    if not pairs or key not in row.items or key not in other.items:
        return None
    values = stats.paired(row.items[key], other.items[key])
    if values.shape[0] != len(pairs) or values.shape[1] < 2:
        return None
    mean = float(np.mean([left[a] - right[b] for a, b in pairs]))
    return values if abs(values.mean() - mean) <= 1e-5 else None
