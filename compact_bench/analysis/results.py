"""Records as rows of results: each method's values by task, metric and seed, and differences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from functools import cached_property, wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import pandas as pd
import pyarrow as pa

from compact_bench.analysis import statistics
from compact_bench.analysis.statistics import NAN
from compact_bench.errors import UserError
from compact_bench.records import suite_record
from compact_bench.records.cells import Cell, read_cells, without_paths
from compact_bench.records.learning_rates import RateTrial, rate_trials
from compact_bench.records.parquet import NO_SEED, Seed, by_seed_and_item, joined
from compact_bench.records.suite_record import SuiteRecord
from compact_bench.suite.metrics import FILTERS, HEADLINES, METRICS, Measure

Function = TypeVar("Function", bound=Callable[..., Any])


def cached(function: Function) -> Function:
    """Keep what a function of results returns for each of its arguments, as long as they live.

    Tables, figures and captions ask for the same; a forked process has what was computed before.
    """

    @wraps(function)
    def of_results(results: Results, *arguments: Any) -> Any:
        key = (function, *arguments)
        if key not in results.computed:
            results.computed[key] = function(results, *arguments)
        return results.computed[key]

    return cast(Function, of_results)


@dataclass(frozen=True, eq=False)
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
    # To other rows; every row's test reads those of all its peers.
    differences: dict[tuple[Row, Measure], np.ndarray | None] = field(default_factory=dict)

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
        configs = [cell.spec.get("config") or {} for cell in self.done.values()]
        teachers = {str(config.get("teacher") or "") for config in configs}
        return teachers.pop() if len(teachers) == 1 else ""

    def summary(self, measure: Measure) -> statistics.Summary:
        """Mean and sd of a measure over the seeds that finished."""
        return statistics.summarise(list(self.values.get(measure, {}).values()))

    def cost(self, name: str) -> statistics.Summary:
        """Mean and sd over seeds of a number of status.json."""
        return statistics.summarise([cell.status.get(name) for cell in self.done.values()])

    @cached_property
    def items(self) -> dict[tuple[str, str], pd.DataFrame]:
        """(task, column of samples.jsonl) -> seed x item table of per-item values."""
        frame = joined((seed, cell.item_table()) for seed, cell in self.done.items())
        tables: dict[tuple[str, str], pd.DataFrame] = {}
        if frame.empty:
            return tables
        frame = _last_stage(frame, ["seed", "task", "question_id"])
        for column in ("right", "marginal_nll", "output_code"):
            known = frame.dropna(subset=[column]).astype({column: float})
            for task, group in known.groupby("task", sort=False):
                tables[str(task), column] = by_seed_and_item(group, column)
        return tables

    def problems(self) -> list[str]:
        """Why cells are not done, one line for each reason, with its seeds."""
        seeds_by_reason: dict[tuple[str, str], list[str]] = {}
        for seed, cell in self.cells.items():
            if cell.state != "done":
                reason = " ".join(str(without_paths(cell.status.get("reason") or "")).split())
                seeds = seeds_by_reason.setdefault((cell.state, reason), [])
                seeds += [] if seed is None else [str(seed)]
        problems = []
        for (state, reason), seeds in seeds_by_reason.items():
            where = f" (seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)})" if seeds else ""
            state = "not run yet" if state == "missing" else state
            problems.append(f"{state}{where}" + (f": {reason}" if reason else ""))
        return problems


@dataclass(frozen=True, eq=False)
class Results:
    """All rows of one suite and profile, in the suite's order.

    before: what the student had before training; chance: what guessing gives; bank: which
    rationales are right and which were spoilt; tries: the learning rates that the dev split chose
    from; clean: by question_id whether no training question tells the item's story.
    """

    plan: SuiteRecord
    rows: tuple[Row, ...]
    measures: tuple[Measure, ...]
    before: Mapping[Measure, float]
    chance: Mapping[Measure, float]
    n_items: Mapping[Measure, int]
    splits: tuple[str, ...]
    teachers: tuple[str, ...] = ()
    bank: pd.DataFrame = field(default_factory=pd.DataFrame)
    tries: tuple[RateTrial, ...] = ()
    clean: Mapping[str, bool] = field(default_factory=dict)
    computed: dict[tuple[Any, ...], Any] = field(default_factory=dict, init=False, repr=False)

    @property
    def suite(self) -> dict[str, Any]:
        """The resolved suite."""
        return self.plan.suite

    @property
    def seeds(self) -> list[int]:
        """The planned seeds."""
        seeds = {cell.get("seed") for cell in self.plan.cells}
        return sorted(seed for seed in seeds if seed is not None)

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
        return {"label": row.name} | ({"condition": row.condition} if self.conditions else {})

    def named(self, wanted: str, condition: str = "") -> Row | None:
        """The row of this label, or else method, under a condition.

        A row that needs no training, and so has no condition, stands for every condition.
        """
        rows = [row for row in self.rows if row.name == wanted]
        rows = rows or [row for row in self.rows if row.method == wanted]
        here = [row for row in rows if row.condition == condition]
        return next(iter(here or [row for row in rows if not row.condition]), None)

    @cached_property
    def reference(self) -> Row | None:
        """The row that others are compared to, under the first condition."""
        names = [""] + [str(condition["name"]) for condition in self.conditions]
        rows = (self.named(str(self.suite.get("compare_to")), name) for name in names)
        return next((row for row in rows if row), None)

    def reference_of(self, row: Row) -> Row | None:
        """The row that a row is compared to: the one of the same condition."""
        return self.named(str(self.suite.get("compare_to")), row.condition)

    def compared_to(self, row: Row) -> Row | None:
        """The row that a row is compared to; None for that row itself and where there is none."""
        other = self.reference_of(row)
        return None if other is None or other.label == row.label else other

    @cached_property
    def main_measures(self) -> list[Measure]:
        """A headline for each task, and the answer's marginal NLL beside reasoning accuracy."""
        chosen: list[Measure] = []
        for role in dict.fromkeys(measure.role for measure in self.measures):
            for headline in self.headlines(role):
                beside = headline.task, "marginal_nll"
                others = [m for m in self.measures if (m.task, m.metric) == beside]
                chosen += dict.fromkeys([headline, *others])
        return chosen

    def headlines(self, role: str) -> list[Measure]:
        """The measure that stands for each of the tasks with this role."""
        chosen = []
        for task in dict.fromkeys(m.task for m in self.measures if m.role == role):
            measures = [m for m in self.measures if m.task == task]
            ranked = [m for name in HEADLINES for m in measures if m.metric == name]
            chosen.append((ranked or measures)[0])
        return chosen

    def skill(self, measure: Measure) -> float:
        """What the student had above chance before training, see `statistics.skill`."""
        before, chance = self.before.get(measure, NAN), self.chance.get(measure, 0.0)
        return statistics.skill(before, chance, self.n_items.get(measure, NAN))

    def retention(self, row: Row, measure: Measure) -> dict[Seed, float]:
        """Share of the old skill that is left by seed: (after - chance) / skill."""
        skill, chance = self.skill(measure), self.chance.get(measure, 0.0)
        return {s: (after - chance) / skill for s, after in row.values.get(measure, {}).items()}

    def mean_retention(self, row: Row) -> dict[Seed, float]:
        """Retention by seed, averaged over the forgetting tasks."""
        by_task = [self.retention(row, measure) for measure in self.headlines("forgetting")]
        known = {s: [t[s] for t in by_task if np.isfinite(t.get(s, NAN))] for s in row.done}
        return {seed: float(np.mean(shares)) if shares else NAN for seed, shares in known.items()}

    def retention_summary(self, row: Row) -> statistics.Summary:
        """Mean and sd over seeds of `mean_retention`."""
        return statistics.summarise(list(self.mean_retention(row).values()))

    @cached
    def difference(self, row: Row, measure: Measure) -> statistics.Difference | None:
        """Compare a row to the reference row; None for that row itself or where either is empty."""
        other = self.compared_to(row)
        return None if other is None else difference(row, other, measure, self.rows)

    def frame(self) -> pd.DataFrame:
        """All values, one a line: row, condition, method, seed, task, metric, filter, role, value.

        seed: <NA> for a row without seeds; value: a share, nats or tokens, as the metric has it.
        """
        lines = [
            (row.name, row.condition, row.method, seed, *astuple(measure), value)
            for row in self.rows
            for measure, by_seed in row.values.items()
            for seed, value in by_seed.items()
        ]
        columns = ["row", "condition", "method", "seed", *_MEASURE, "value"]
        return pd.DataFrame(lines, columns=columns).astype({"seed": "Int64"})


def difference(
    row: Row, other: Row, measure: Measure, rows: Iterable[Row] = (), one_seed: bool = False
) -> statistics.Difference | None:
    """Paired difference row - other: crossed test where there are two seeds and per-item values.

    rows: those of which `peers` may say with this one how much seeds vary; without them the test
    has the degrees of freedom of this row's seeds only, and so a wider interval.
    With `one_seed`, a single common seed is tested over its items.
    None where they have no seed in common.
    """
    pairs = _pairs(row, other, measure)
    if not pairs:
        return None
    by_item = item_differences(row, other, measure)
    if by_item is not None and len(by_item) > 1:
        tables = (item_differences(peer, other, measure) for peer in peers(rows, row, other))
        return statistics.crossed(by_item, peers=seed_means(tables, len(by_item)))
    if by_item is not None and one_seed:
        return statistics.over_items(by_item[0])
    items = 0 if by_item is None else by_item.shape[1]
    return statistics.Difference(_mean_difference(pairs), seeds=len(pairs), items=items)


def peers(rows: Iterable[Row], row: Row, other: Row) -> list[Row]:
    """The rows whose differences to `other` say with this one's how much seeds vary.

    Trained rows of the same condition that have the same seeds done; `row` is among them if it is.
    """
    seeds = set((row if row.trained else other).done)
    condition = row.condition or other.condition
    return [
        one for one in rows
        if one.trained and one is not other and one.condition == condition
        and set(one.done) == seeds
    ]  # fmt: skip


def seed_means(tables: Iterable[np.ndarray | None], seeds: int) -> np.ndarray:
    """Means over items of each (S,n) table that has so many seeds. Returns (R,S) float64."""
    means = [one.mean(axis=1) for one in tables if one is not None and len(one) == seeds]
    return np.stack(means) if means else np.empty((0, seeds))


def _pairs(row: Row, other: Row, measure: Measure) -> list[tuple[float, float]]:
    """Values of equal seeds, or each seed's with that of the one run that has none."""
    left, right = row.values.get(measure, {}), other.values.get(measure, {})
    if None in left and None not in right:
        return [(left[None], value) for value in right.values()]
    if None in right and None not in left:
        return [(value, right[None]) for value in left.values()]
    return [(left[seed], right[seed]) for seed in left if seed in right]


def _mean_difference(pairs: Sequence[tuple[float, float]]) -> float:
    return float(np.mean([value - other for value, other in pairs]))


def item_differences(row: Row, other: Row, measure: Measure) -> np.ndarray | None:
    """Paired differences row - other by seed and item, (S,n) float64; None where there are none.

    Per-item values that don't average to the recorded value belong to another filter, and are
    not used.
    """
    if (other, measure) not in row.differences:
        row.differences[other, measure] = _item_differences(row, other, measure)
    return row.differences[other, measure]


def _item_differences(row: Row, other: Row, measure: Measure) -> np.ndarray | None:
    pairs = _pairs(row, other, measure)
    key = measure.task, measure.shown.item_column
    if not pairs or key not in row.items or key not in other.items:
        return None
    values = statistics.paired(row.items[key], other.items[key])
    if values.shape[0] != len(pairs) or values.shape[1] < 2:
        return None
    return values if abs(values.mean() - _mean_difference(pairs)) <= 1e-5 else None


_MEASURE = ["task", "metric", "filter", "role"]  # the fields of Measure
_DEFAULTS: Mapping[str, Any] = {
    "filter": "none",
    "role": "reasoning",
    "stage": "after",
    "chance": 0.0,
    "n": NAN,
    "split": "test",
}


def row_label(planned: Mapping[str, Any]) -> str:
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
    """
    known = {cell.run_id: cell for cell in cells}

    def cell_of(run_id: str) -> Cell:
        return known.get(run_id, Cell(run_id, Path()))

    by_id: dict[str, Cell] = {}
    tables: list[tuple[Mapping[str, Any], pa.Table]] = []
    for planned in plan.cells:
        by_id[planned["run_id"]], table = _checked(cell_of(planned["run_id"]))
        tables += [] if table is None else [(planned, table)]
    frame = _joined(tables)
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
        tries=tuple(rate_trials(plan.tries, cell_of)),
        clean=clean or {},
    )


def _checked(cell: Cell) -> tuple[Cell, pa.Table | None]:
    """A cell and its values; without readable values it can't be reported as done."""
    if cell.state != "done":
        return cell, None
    try:
        cell.check()
        table = cell.table("eval")
        if table is None or not len(table) or {"task", "metric", "value"} - set(table.column_names):
            raise UserError("eval.parquet holds no values")
        if table["task"].null_count or table["metric"].null_count:
            raise UserError("eval.parquet has rows without a task or metric")
    except UserError as error:
        return replace(cell, status={**cell.status, "state": "failed", "reason": str(error)}), None
    return cell, table


def _joined(tables: Sequence[tuple[Mapping[str, Any], pa.Table]]) -> pd.DataFrame:
    """All cells' values as one table with the label and seed of each, and defaults for gaps.

    Joined before pandas sees them: it takes longer for one cell than for all together.
    """
    columns = [*_MEASURE, "value", "stage", "chance", "n", "split"]
    if tables:
        parts = [
            table.select([name for name in table.column_names if name in columns])
            for _, table in tables
        ]
        frame = pa.concat_tables(parts, promote_options="permissive").to_pandas(use_threads=False)
    else:
        frame = pd.DataFrame(columns=columns)
    for column, default in _DEFAULTS.items():
        frame[column] = frame[column].fillna(default) if column in frame else default
    sizes = [len(table) for _, table in tables]
    labels = [row_label(planned) for planned, _ in tables]
    seeds = [planned.get("seed") for planned, _ in tables]
    numbers = [NO_SEED if seed is None else int(seed) for seed in seeds]
    frame["label"] = np.repeat(np.array(labels, dtype=object), sizes)
    frame["seed"] = np.repeat(np.array(numbers, dtype=np.int64), sizes)
    return frame.astype({"value": float, "chance": float, "n": float})


def _by_measure(frame: pd.DataFrame, column: str, how: str) -> dict[Measure, Any]:
    values = frame.groupby(_MEASURE, sort=False)[column].agg(how).to_dict()
    return {Measure(*map(str, key)): value for key, value in values.items()}


def _last_stage(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Keep "after" rows where there are any; an untrained student only has "before" ones."""
    after = frame["stage"].ne("before")
    if after.all() or not after.any():
        return frame  # the rule for thousands of cells, without asking each item
    trained = after.groupby([frame[key] for key in keys]).transform("any")
    return frame[after | ~trained]


def _values(frame: pd.DataFrame) -> dict[str, dict[Measure, dict[Seed, float]]]:
    keys = ["label", "seed", *_MEASURE]
    series = _last_stage(frame, keys).groupby(keys, sort=False)["value"].mean()
    values: dict[str, dict[Measure, dict[Seed, float]]] = {}
    for (label, seed, *measure), value in series.items():
        by_seed = values.setdefault(label, {}).setdefault(Measure(*map(str, measure)), {})
        by_seed[None if seed == NO_SEED else int(seed)] = float(value)
    return values


def _measures(frame: pd.DataFrame, plan: SuiteRecord) -> tuple[Measure, ...]:
    """Reasoning tasks first, each role in the suite's order of tasks, strict filters first."""
    tasks = [task["task"] for task in plan.suite.get("evaluation", {}).get("tasks", ())]
    keys = frame[_MEASURE].drop_duplicates().itertuples(index=False, name=None)
    measures = [Measure(*map(str, key)) for key in keys]

    def place(name: str, order: Sequence[str]) -> int:
        return order.index(name) if name in order else len(order)

    def order(m: Measure) -> tuple[Any, ...]:
        metric, kind = place(m.metric, [*METRICS]), place(m.filter, FILTERS)
        return m.role != "reasoning", place(m.task, tasks), m.task, metric, m.metric, kind, m.filter

    return tuple(sorted(measures, key=order))


def _rows(
    by_id: Mapping[str, Cell], plan: SuiteRecord, values: Mapping[str, Mapping[Measure, Any]]
) -> Iterable[Row]:
    by_label: dict[str, list[Mapping[str, Any]]] = {}
    for cell in plan.cells:
        by_label.setdefault(row_label(cell), []).append(cell)
    for label, planned in by_label.items():
        cells = {cell.get("seed"): by_id[cell["run_id"]] for cell in planned}
        facts = [*planned, *(cell.spec for cell in cells.values())]
        name, condition = planned[0]["label"], planned[0].get("condition") or ""
        method = next((f["method"] for f in facts if f.get("method")), name.split("[")[0])
        gold = next((f["uses_gold"] for f in facts if f.get("uses_gold") is not None), None)
        yield Row(label, str(method), cells, gold, values.get(label, {}), condition, name)


def count_states(results: Results) -> Counter[str]:
    """Count the planned cells by state."""
    return Counter(cell.state for row in results.rows for cell in row.cells.values())


def read(folder: Path) -> Results:
    """Read results/<suite>/<profile>. Raises UserError where no suite was run there."""
    return collect(
        read_cells(folder),
        suite_record.read_suite_record(folder),
        suite_record.read_bank_teachers(folder),
        suite_record.read_bank(folder),
        suite_record.read_clean(folder),
    )
