"""What each row cost, and what choosing its learning rate gave and cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from compact_bench.analysis.results import Results, Row
from compact_bench.analysis.statistics import Summary
from compact_bench.records import learning_rates
from compact_bench.records.learning_rates import RateTrial
from compact_bench.report.parts import captions, formats
from compact_bench.report.parts.formats import Entry, Table
from compact_bench.report.parts.numbers import NONE, compact, decimals, heading, with_spread
from compact_bench.suite.metrics import Measure
from compact_bench.suite.schema import IN_DOMAIN

COSTS = {
    "tokens": "student tokens",
    "selection_tokens": "of them to select",
    "sampled_tokens": "tokens it wrote",
    "physical_tokens": "with padding",
    "supervised_tokens": "target tokens",
    "teacher_tokens": "teacher tokens",
    "flops": "FLOPs",
    "train_seconds": "seconds of training",
    "eval_seconds": "of evaluation",
    "cell_peak_memory_mb": "peak memory, MB",
}


def cost(results: Results) -> Table:
    """What a cell of each row cost, mean over seeds; as CSV with the standard deviation."""
    shown = [n for n in COSTS if any(row.cost(n).n for row in results.rows)]
    if not any(row.cost("sampled_tokens").mean > 0 for row in results.rows):
        shown = [name for name in shown if name != "sampled_tokens"]
    columns = {"method": [row.label for row in results.rows]}
    for name in shown:
        columns[COSTS[name]] = [compact(row.cost(name).mean) for row in results.rows]
    staged = any(row.cost("stages").mean > 1 for row in results.rows)
    if staged:
        columns["stages × steps"] = [_stages(row) for row in results.rows]
    columns["layout"] = [
        ", ".join(sorted({str(c.status.get("layout") or NONE) for c in row.done.values()})) or NONE
        for row in results.rows
    ]
    numbers = [
        results.key(row)
        | {
            f"{name}.{part}": getattr(row.cost(name), part)
            for name in shown
            for part in ("mean", "sd")
        }
        for row in results.rows
    ]
    text = captions.caption(
        results,
        "What one cell costs, mean over seeds. Student tokens are real tokens, the prompt counted "
        "for every row that is read; FLOPs are 2 N a token forward plus the backward pass",
        "Of them to select: what a method read, wrote or trained to choose rationales or teachers"
        if "selection_tokens" in shown
        else "",
        "Tokens it wrote: rationales of its own, in training" if "sampled_tokens" in shown else "",
        "Stages: how often training begins anew, with an optimizer and a learning-rate schedule of "
        "its own; by the mean of its optimizer steps"
        if staged
        else "",
        "What choosing the learning rates cost is in the table selection" if results.tries else "",
    )
    return formats.table("cost", "Cost", text, columns, pd.DataFrame(numbers))


def _stages(row: Row) -> str:
    """How many stages, and how many optimizer steps each; earlier records don't say."""
    stages, steps = row.cost("stages").mean, row.cost("steps").mean
    return f"{decimals(stages, 0)} × {decimals(steps / stages)}" if stages > 0 else NONE


SELECTION_COSTS = {"tokens": "tokens of choosing", "flops": "FLOPs of choosing"}


def selection(results: Results) -> Table | None:
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
    columns: dict[str, list[Any]] = {"method": [row.label for row in rows]}
    for rate in spec["learning_rates"]:
        columns[f"{rate:g}"] = [
            _rate_entry(found[r.label], rate, won[r.label], measure) for r in rows
        ]
    for name, title in SELECTION_COSTS.items():
        columns[title] = [compact(_spent(found[row.label], name)) for row in rows]
    cells = [row.cost("flops").mean for row in rows]
    columns["× a cell's"] = [
        decimals(_spent(found[row.label], "flops") / cell if cell else math.nan)
        for row, cell in zip(rows, cells, strict=True)
    ]
    numbers = [
        results.key(row)
        | {"learning_rate": one.rate, measure.metric: one.value(measure.metric)}
        | {"stderr": one.error(measure.metric), "chosen": one is won[row.label]}
        | {name: one.cost(name) for name in (*SELECTION_COSTS, "train_seconds")}
        for row in rows
        for one in found[row.label]
    ]
    seeds = ", ".join(map(str, spec["seeds"]))
    text = captions.caption(
        results,
        f"{heading(measure)}, on the dev split, by learning rate (seed {seeds}); bold: chosen, the "
        "first of equal values. None of these cells is in any other table",
        "± is one standard error over the questions",
        "Tokens and FLOPs of choosing are those of training with all a row's learning rates; what "
        "asking the dev split takes is not in them. The last column is these FLOPs over those of "
        "training one cell of the row",
        _close_choices(found, won, measure),
    )
    title = "The learning rates, chosen on the dev split"
    return formats.table("selection", title, text, columns, pd.DataFrame(numbers))


def _close_choices(
    found: Mapping[str, list[RateTrial]], won: Mapping[str, RateTrial | None], measure: Measure
) -> str:
    """How many choices are within noise of another, and how many took the highest rate."""
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


def _rate_entry(
    found: list[RateTrial], rate: float, won: RateTrial | None, measure: Measure
) -> Entry:
    one = next(one for one in found if one.rate == rate)
    states = ", ".join(sorted({cell.state for cell in one.cells} - {"done"}))
    score = Summary(one.value(measure.metric), one.error(measure.metric), len(one.cells))
    return Entry(states or with_spread(score, measure), one is won)


def _spent(found: list[RateTrial], name: str) -> float:
    known = [one.cost(name) for one in found if not math.isnan(one.cost(name))]
    return math.fsum(known) if known else math.nan
