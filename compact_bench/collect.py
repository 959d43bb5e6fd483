"""From records to results: read the planned cells, choose stages, put them into rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from compact_bench import selection
from compact_bench.errors import UserError
from compact_bench.joining import NO_SEED
from compact_bench.measures import FILTERS, METRICS, Measure
from compact_bench.outcomes import Results, Row, Seed, last_stage
from compact_bench.records import Cell, Plan, read_arrow

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
    plan: Plan,
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
        tries=tuple(selection.tried(plan.tries, read)),
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


def _measures(frame: pd.DataFrame, plan: Plan) -> tuple[Measure, ...]:
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
    by_id: Mapping[str, Cell], plan: Plan, values: Mapping[str, Mapping[Measure, Any]]
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
