"""What each learning rate gave on the dev split, which was chosen, and what choosing cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from compact_bench.analysis.results import Results, Row
from compact_bench.records import learning_rates
from compact_bench.records.learning_rates import RateTrial
from compact_bench.report.parts import captions, formats
from compact_bench.report.parts.formats import Entry, Table
from compact_bench.report.parts.numbers import NONE, compact, heading, number
from compact_bench.suite.metrics import Measure
from compact_bench.suite.schema import IN_DOMAIN

COSTS = {"tokens": "tokens of choosing", "flops": "FLOPs of choosing"}


def table(results: Results) -> Table | None:
    """A line for each row that had its learning rate chosen; None where none had."""
    spec = results.suite.get("selection")
    if not spec:
        return None
    measure = Measure(IN_DOMAIN, spec["metric"], "none", "reasoning")
    candidates = learning_rates.by_row(results.tries)
    rows = [row for row in results.rows if (row.name, row.condition) in candidates]
    if not rows:
        return None
    found = {row.label: candidates[row.name, row.condition] for row in rows}
    won = {label: learning_rates.best(some, measure.metric) for label, some in found.items()}
    columns: dict[str, list[Entry]] = {"method": [Entry(row.label) for row in rows]}
    for rate in spec["learning_rates"]:
        column = [_entry(found[row.label], rate, won[row.label], measure) for row in rows]
        columns[f"{rate:g}"] = column
    for name, title in COSTS.items():
        columns[title] = [Entry(compact(_spent(found[row.label], name))) for row in rows]
    columns["× a cell's"] = [Entry(_times(row, found[row.label])) for row in rows]
    numbers = [
        results.key(row) | _numbers(one, measure.metric, one is won[row.label])
        for row in rows
        for one in found[row.label]
    ]
    text = captions.caption(results, *caption(results, measure), close(found, won, measure))
    title = "The learning rates, chosen on the dev split"
    return formats.table("selection", title, text, columns, pd.DataFrame(numbers))


def caption(results: Results, measure: Measure) -> list[str]:
    """What the columns are."""
    spec = results.suite["selection"]
    seeds = ", ".join(map(str, spec["seeds"]))
    return [
        f"{heading(measure)}, on the dev split, by learning rate (seed {seeds}); bold: chosen, the "
        "first of equal values. None of these cells is in any other table",
        "± is one standard error over the questions",
        "Tokens and FLOPs of choosing are those of training with all a row's learning rates; what "
        "asking the dev split takes is not in them. The last column is these FLOPs over those of "
        "training one cell of the row",
    ]


def close(
    found: Mapping[str, list[RateTrial]], won: Mapping[str, RateTrial | None], measure: Measure
) -> str:
    """Say how many choices are no more than noise, and how many took the highest rate."""
    chosen = {label: one for label, one in won.items() if one is not None}
    near = highest = 0
    for label, one in chosen.items():
        value, limit = one.value(measure.metric), one.error(measure.metric)
        others = [other.value(measure.metric) for other in found[label] if other is not one]
        near += any(abs(other - value) <= limit for other in others)
        highest += one.rate == max(other.rate for other in found[label])
    return (
        f"In {near} of {len(chosen)} rows another learning rate is within one standard error of "
        f"the chosen one; {highest} rows chose the highest"
    )


def _entry(found: list[RateTrial], rate: float, won: RateTrial | None, measure: Measure) -> Entry:
    one = next(one for one in found if one.rate == rate)
    states = ", ".join(sorted({cell.state for cell in one.cells} - {"done"}))
    value, error = one.value(measure.metric), one.error(measure.metric)
    spread = f" ± {number(error, measure)}" if math.isfinite(error) else ""
    return Entry(states or number(value, measure) + spread, one is won)


def _spent(found: list[RateTrial], name: str) -> float:
    known = [one.cost(name) for one in found if not math.isnan(one.cost(name))]
    return math.fsum(known) if known else math.nan


def _times(row: Row, found: list[RateTrial]) -> str:
    cell = row.cost("flops").mean
    spent = _spent(found, "flops")
    return f"{spent / cell:.1f}" if cell and math.isfinite(spent / cell) else NONE


def _numbers(one: RateTrial, metric: str, chosen: bool) -> dict[str, Any]:
    costs = {name: one.cost(name) for name in (*COSTS, "train_seconds")}
    found = {metric: one.value(metric), "stderr": one.error(metric)}
    return {"learning_rate": one.rate, **found, "chosen": chosen, **costs}
