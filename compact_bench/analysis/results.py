"""Rows of results: which value each method has, by task, metric and seed, and how they differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from compact_bench.analysis import statistics
from compact_bench.errors import UserError
from compact_bench.records import learning_rates
from compact_bench.records.cells import Cell, read_cells, without_paths
from compact_bench.records.joining import NO_SEED, Seed, by_seed_and_item, joined
from compact_bench.records.learning_rates import Tried
from compact_bench.records.suite_record import SuiteRecord, read_suite_record
from compact_bench.records.tables import read_arrow
from compact_bench.records.texts import read_bank, read_bank_teachers, read_clean
from compact_bench.suite.metrics import FILTERS, HEADLINES, METRICS, Measure


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

    def summary(self, measure: Measure) -> statistics.Summary:
        """Mean and sd of a measure over the seeds that finished."""
        return statistics.summarise(list(self.values.get(measure, {}).values()))

    def cost(self, name: str) -> statistics.Summary:
        """Mean and sd over seeds of a number of status.json."""
        return statistics.summarise([_number(cell.status.get(name)) for cell in self.done.values()])

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
    return float(value) if isinstance(value, (int, float)) else statistics.NAN


@dataclass(frozen=True)
class Results:
    """All rows of one suite and profile, in the suite's order."""

    plan: SuiteRecord
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
        before = self.before.get(measure, statistics.NAN)
        chance = self.chance.get(measure, 0.0)
        values = row.values.get(measure, {})
        return {seed: statistics.retention(value, before, chance) for seed, value in values.items()}

    def kept_mean(self, row: Row) -> dict[Seed, float]:
        """Retention by seed, averaged over the forgetting tasks."""
        found = [self.kept(row, measure) for measure in self.headlines("forgetting")]
        means = {}
        for seed in row.done:
            values = [kept[seed] for kept in found if np.isfinite(kept.get(seed, statistics.NAN))]
            means[seed] = float(np.mean(values)) if values else statistics.NAN
        return means

    def difference(self, row: Row, measure: Measure) -> statistics.Difference | None:
        """Compare a row to the reference row; None for that row itself or where either is empty."""
        other = self.reference_of(row)
        if other is None or row.label == other.label:
            return None
        key = (row.label, measure)
        if key not in self._differences:
            self._differences[key] = difference(row, other, measure)
        return self._differences[key]

    @cached_property
    def _differences(self) -> dict[tuple[str, Measure], statistics.Difference | None]:
        """What was compared already: tables, captions and the page ask for the same."""
        return {}

    @cached_property
    def computed(self) -> dict[str, Any]:
        """What else was computed already of these results, by the name of who computes it."""
        return {}


def difference(
    row: Row, other: Row, measure: Measure, one_seed: bool = False
) -> statistics.Difference | None:
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
        return statistics.Difference(mean, seeds=len(pairs))
    if len(values) > 1:
        return statistics.crossed(values)
    if one_seed:
        return statistics.over_items(values[0])
    mean = float(np.mean([left[a] - right[b] for a, b in pairs]))
    return statistics.Difference(mean, seeds=1, items=values.shape[1])


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
    values = statistics.paired(row.items[key], other.items[key])
    if values.shape[0] != len(pairs) or values.shape[1] < 2:
        return None
    mean = float(np.mean([left[a] - right[b] for a, b in pairs]))
    return values if abs(values.mean() - mean) <= 1e-5 else None


_MEASURE = ["task", "metric", "filter", "role"]

_DEFAULTS: Mapping[str, Any] = {
    "filter": "none",
    "role": "reasoning",
    "stage": "after",
    "chance": 0.0,
    "n": float("nan"),
    "split": "test",
}


def shown(planned: Mapping[str, Any]) -> str:
    """The label of a planned cell's row, with its condition where it has one."""
    return " · ".join(filter(None, (planned["label"], planned.get("condition"))))


def collect(
    cells: Iterable[Cell],
    plan: SuiteRecord,
    teachers: Sequence[str] = (),
    bank: pd.DataFrame | None = None,
    clean: Mapping[str, bool] | None = None,
) -> Results:
    """Put the planned cells into rows; cells that the plan no longer names are left out.

    A cell that is done but whose values can't be read counts as failed, with that reason.
    `bank` says which rationales are right and which were spoilt, `clean` which in-domain items
    tell a story that no training question tells.
    """
    known = {cell.run_id: cell for cell in cells}

    def read(run_id: str) -> Cell:
        return known.get(run_id, Cell(run_id, Path()))

    by_id: dict[str, Cell] = {}
    found: list[tuple[Mapping[str, Any], pa.Table]] = []
    for planned in plan.cells:
        by_id[planned["run_id"]], table = _checked(read(planned["run_id"]))
        found += [] if table is None else [(planned, table)]
    frame = _joined(found)
    return Results(
        plan=plan,
        rows=tuple(_rows(by_id, plan, _values(frame))),
        measures=_measures(frame, plan),
        before=_by_measure(frame[frame["stage"] == "before"], "value", "mean"),
        chance=_by_measure(frame, "chance", "max"),
        n_items=_by_measure(frame, "n", "max"),
        splits=tuple(sorted(frame["split"].astype(str).unique())),
        teachers=tuple(teachers) or tuple(plan.suite.get("data", {}).get("teachers", ())),
        bank=pd.DataFrame() if bank is None else bank,
        tries=tuple(learning_rates.tried(plan.tries, read)),
        clean=clean or {},
    )


def _checked(cell: Cell) -> tuple[Cell, pa.Table | None]:
    """A cell and its values; without readable values it can't be reported as done."""
    if cell.state != "done":
        return cell, None
    path = cell.folder / "eval.parquet"
    try:
        table = read_arrow(path) if path.exists() else None
        if table is None or not len(table) or {"task", "metric", "value"} - set(table.column_names):
            raise UserError("eval.parquet holds no values")
    except UserError as error:
        return replace(cell, status={**cell.status, "state": "failed", "reason": str(error)}), None
    return cell, table


def _joined(found: Sequence[tuple[Mapping[str, Any], pa.Table]]) -> pd.DataFrame:
    """All cells' values as one table with the label and seed of each, and defaults for gaps.

    Joined before pandas sees them: it takes longer for one cell than for all together.
    """
    columns = [*_MEASURE, "value", "stage", "chance", "n", "split"]
    if found:
        tables = [
            table.select([name for name in table.column_names if name in columns])
            for _, table in found
        ]
        frame = pa.concat_tables(tables, promote_options="permissive")
        frame = frame.to_pandas(use_threads=False)
    else:
        frame = pd.DataFrame(columns=columns)
    for column, default in _DEFAULTS.items():
        frame[column] = frame[column].fillna(default) if column in frame else default
    sizes = [len(table) for _, table in found]
    seeds = [planned.get("seed") for planned, _ in found]
    frame["label"] = np.repeat(np.array([shown(one) for one, _ in found], dtype=object), sizes)
    numbers = [NO_SEED if seed is None else int(seed) for seed in seeds]
    frame["seed"] = np.repeat(np.array(numbers, dtype=np.int64), sizes)
    return frame.astype({"value": float, "chance": float, "n": float})


def _by_measure(frame: pd.DataFrame, column: str, how: str) -> dict[Measure, Any]:
    series = frame.groupby(_MEASURE, sort=False)[column].agg(how)
    return {
        Measure(*map(str, key)): value
        for key, value in zip(series.index.tolist(), series.tolist(), strict=True)
    }


def _values(frame: pd.DataFrame) -> dict[str, dict[Measure, dict[Seed, float]]]:
    keys = ["label", "seed", *_MEASURE]
    series = last_stage(frame, keys).groupby(keys, sort=False)["value"].mean()
    values: dict[str, dict[Measure, dict[Seed, float]]] = {}
    for (label, seed, *measure), value in zip(series.index.tolist(), series, strict=True):
        by_seed = values.setdefault(label, {}).setdefault(Measure(*map(str, measure)), {})
        by_seed[None if seed == NO_SEED else int(seed)] = float(value)
    return values


def _measures(frame: pd.DataFrame, plan: SuiteRecord) -> tuple[Measure, ...]:
    """Reasoning tasks first, each role in the suite's order of tasks, strict filters first."""
    tasks = [task["task"] for task in plan.suite.get("evaluation", {}).get("tasks", ())]
    found = frame[_MEASURE].drop_duplicates().itertuples(index=False, name=None)
    measures = [Measure(*map(str, key)) for key in found]

    def place(name: str, order: Sequence[str]) -> int:
        return order.index(name) if name in order else len(order)

    return tuple(
        sorted(
            measures,
            key=lambda m: (
                m.role != "reasoning",
                place(m.task, tasks),
                m.task,
                place(m.metric, list(METRICS)),
                m.metric,
                place(m.filter, FILTERS),
                m.filter,
            ),
        )
    )


def _rows(
    by_id: Mapping[str, Cell], plan: SuiteRecord, values: Mapping[str, Mapping[Measure, Any]]
) -> Iterable[Row]:
    planned: dict[str, list[Mapping[str, Any]]] = {}
    for cell in plan.cells:
        planned.setdefault(shown(cell), []).append(cell)
    for label, ones in planned.items():
        cells = {one.get("seed"): by_id[one["run_id"]] for one in ones}
        facts = [*ones, *(cell.spec for cell in cells.values())]
        name, condition = ones[0]["label"], ones[0].get("condition") or ""
        method = next((f["method"] for f in facts if f.get("method")), name.split("[")[0])
        gold = next((f["uses_gold"] for f in facts if f.get("uses_gold") is not None), None)
        yield Row(label, str(method), cells, gold, values.get(label, {}), condition, name)


def states(results: Results) -> Counter[str]:
    """Count the planned cells by state."""
    return Counter(cell.state for row in results.rows for cell in row.cells.values())


def read(folder: Path) -> Results:
    """Read results/<suite>/<profile>. Raises UserError where no suite was run there."""
    folder = Path(folder)
    plan = read_suite_record(folder)
    bank = read_bank(folder)
    teachers, clean = read_bank_teachers(folder), read_clean(folder)
    return collect(read_cells(folder), plan, teachers, bank, clean)
