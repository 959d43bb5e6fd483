"""Results -> tables: the main one, all differences, all metrics, and what each row cost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from compact_bench.analysis import claims
from compact_bench.analysis.results import Results, collect
from compact_bench.analysis.statistics import Difference
from compact_bench.records.cells import Cell
from compact_bench.records.suite_record import SuiteRecord
from compact_bench.report.parts import captions, formats
from compact_bench.report.parts.formats import Entry, Table
from compact_bench.report.parts.numbers import (
    NONE,
    compact,
    heading,
    p_value,
    with_half_width,
    with_sd,
)
from compact_bench.suite.metrics import METRICS, Measure

_NOTE_LENGTH = 48


def main(results: Results) -> Table:
    """The main table: headline metrics, difference in the reasoning ones, cost, seeds done."""
    reference = results.reference.name if results.reference else NONE
    columns: dict[str, list[Entry]] = {"method": [Entry(row.label) for row in results.rows]}
    for measure in results.main_measures:
        columns[heading(measure)] = _value_column(results, measure)
        if measure.role == "reasoning" and measure.metric != "marginal_nll":
            title = f"Δ {measure.task_title} to {reference}"
            found = [results.difference(row, measure) for row in results.rows]
            columns[title] = _marked(results, measure, found)
    if results.headlines("forgetting"):
        columns["old skill kept, % ↑"] = _kept_column(results)
    for name, title in (("tokens", "tokens"), ("flops", "FLOPs"), ("train_seconds", "seconds")):
        columns[title] = [Entry(compact(row.cost(name).mean)) for row in results.rows]
    columns["done"] = [Entry(f"{len(row.done)}/{len(row.cells)}") for row in results.rows]
    columns["gold"] = [
        Entry({True: "yes", False: "no", None: NONE}[row.uses_gold]) for row in results.rows
    ]
    if any(row.problems() for row in results.rows):
        columns["note"] = [Entry(_short("; ".join(row.problems()))) for row in results.rows]
    headline = next(iter(results.headlines("reasoning")), None)
    text = captions.caption(
        results,
        _averaged(results),
        captions.bold(results),
        captions.differences(results, headline),
        "Old skill kept: (after − chance) / (before − chance), mean over the forgetting tasks"
        if results.headlines("forgetting")
        else "",
        "Tokens, FLOPs and seconds are of training, a cell's mean. Gold: the method sees the gold "
        "answer when it weights or selects",
    )
    notes = tuple(f"{row.label}: {why}" for row in results.rows for why in row.problems())
    return formats.table("main", "Methods", text, columns, main_numbers(results), notes)


def _averaged(results: Results) -> str:
    if len(results.seeds) > 1:
        return "Mean ± standard deviation over seeds"
    return "Values of a single run"


def _marked(results: Results, measure: Measure, found: Sequence[Difference | None]) -> list[Entry]:
    """A column of differences, * where one survives the correction."""
    claimed = claims.family(results)
    return [
        Entry(with_half_width(one, measure) + ("*" if claimed.survives(row, measure) else ""))
        for row, one in zip(results.rows, found, strict=True)
    ]


def _value_column(results: Results, measure: Measure) -> list[Entry]:
    best = claims.not_worse(results, measure)
    return [
        Entry(with_sd(row.summary(measure), measure), row.label in best) for row in results.rows
    ]


def _kept_column(results: Results) -> list[Entry]:
    percent = results.headlines("forgetting")[0]
    shown = Measure(percent.task, "accuracy", "none", "forgetting")
    best = claims.retention_not_worse(results)
    return [
        Entry(with_sd(results.retention_summary(row), shown), row.label in best)
        for row in results.rows
    ]


def _short(text: str) -> str:
    return text if len(text) <= _NOTE_LENGTH else text[: _NOTE_LENGTH - 1].rstrip() + "…"


def main_numbers(results: Results) -> pd.DataFrame:
    """The main table unrounded: for each measure mean, sd, n and the paired difference."""
    rows = []
    for row in results.rows:
        line: dict[str, Any] = {**results.key(row), "method": row.method}
        for measure in results.main_measures:
            one = row.summary(measure)
            line |= {f"{measure.key}.mean": one.mean, f"{measure.key}.sd": one.sd}
            line[f"{measure.key}.seeds"] = one.n
            found = results.difference(row, measure) or Difference(math.nan)
            line |= {
                f"{measure.key}.difference": found.mean,
                f"{measure.key}.half_width": found.half_width,
                f"{measure.key}.p": found.p,
                f"{measure.key}.p_holm": claims.family(results).p(row, measure),
            }
        kept = results.retention_summary(row)
        line |= {"kept.mean": kept.mean, "kept.sd": kept.sd}
        line |= {name: row.cost(name).mean for name in ("tokens", "flops", "train_seconds")}
        line |= {"done": len(row.done), "planned": len(row.cells), "uses_gold": row.uses_gold}
        rows.append(line | {"note": "; ".join(row.problems())})
    return pd.DataFrame(rows)


def main_table(cells: Iterable[Cell], plan: SuiteRecord) -> pd.DataFrame:
    """The main table's numbers from cells and plan."""
    return main_numbers(collect(cells, plan))


def differences(results: Results) -> Table:
    """Every headline measure's difference to the reference row, with its 95% half-width.

    Primary measures have their p corrected beside it; the CSV file also holds p as it is and the
    minimum detectable difference.
    """
    reference = results.reference.name if results.reference else NONE
    columns: dict[str, list[Entry]] = {"method": [Entry(row.label) for row in results.rows]}
    claimed = claims.family(results)
    primary = claims.primary(results)
    lines = []
    for measure in results.main_measures:
        found = [results.difference(row, measure) for row in results.rows]
        columns[heading(measure)] = _marked(results, measure, found)
        if measure in primary and claimed.size:
            adjusted = [claimed.p(row, measure) for row in results.rows]
            columns[f"{measure.task_title}: p (Holm)"] = [Entry(p_value(p)) for p in adjusted]
        for row, one in zip(results.rows, found, strict=True):
            if one is not None:
                key = results.key(row) | {"reference": reference, **_key(measure)}
                more = {"p_holm": claimed.p(row, measure), "detectable": one.detectable}
                lines.append(key | vars(one) | more)
    text = captions.caption(results, captions.differences(results, None))
    fields = [*results.key_columns, "reference", "task", "metric", "filter", *vars(Difference(0.0))]
    numbers = pd.DataFrame(lines, columns=[*fields, "p_holm", "detectable"])
    return formats.table("differences", f"Differences to {reference}", text, columns, numbers)


def _key(measure: Measure) -> dict[str, str]:
    return {"task": measure.task, "metric": measure.metric, "filter": measure.filter}


def metrics(results: Results) -> Table:
    """Every metric of every task; as CSV, every seed's value."""
    kinds = dict.fromkeys((m.metric, m.filter) for m in results.measures)
    order = sorted(kinds, key=lambda kind: [*METRICS].index(kind[0]) if kind[0] in METRICS else 99)
    titles = {k: heading(Measure("", *k, "")).removeprefix(": ") for k in order}
    # A written task's strict accuracy and a choice task's share a title, and so a column.
    columns: dict[str, list[Entry]] = {"method": [], "task": [], **{titles[k]: [] for k in order}}
    lines = []
    for row in results.rows:
        for task in dict.fromkeys(measure.task for measure in row.values):
            columns["method"].append(Entry(row.label))
            columns["task"].append(Entry(task.replace("_", " ")))
            here = {(m.metric, m.filter): m for m in row.values if m.task == task}
            for title in dict.fromkeys(titles.values()):
                measure = next((here[k] for k in order if titles[k] == title and k in here), None)
                value = with_sd(row.summary(measure), measure) if measure else NONE
                columns[title].append(Entry(value))
            for measure in here.values():
                key = results.key(row) | _key(measure)
                lines += [key | {"seed": s, "value": v} for s, v in row.values[measure].items()]
    text = captions.caption(results, f"Every metric. {_averaged(results)}")
    fields = [*results.key_columns, "seed", "task", "metric", "filter", "value"]
    numbers = pd.DataFrame(lines, columns=fields).astype({"seed": "Int64"})
    return formats.table("metrics", "All metrics", text, columns, numbers)
