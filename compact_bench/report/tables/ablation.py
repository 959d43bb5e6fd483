"""The ablation: a base row, and what each change of its settings does to every measure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from compact_bench.analysis.detection import Tally, auroc, auroc_difference
from compact_bench.analysis.results import Results, Row, difference
from compact_bench.analysis.statistics import NAN, Difference
from compact_bench.analysis.weights import WEIGHT, WRONG, rationale_stats
from compact_bench.report.parts import captions, formats
from compact_bench.report.parts.formats import Table
from compact_bench.report.parts.numbers import NONE, heading, spread, with_half_width, with_sd
from compact_bench.suite.metrics import Measure

AUROC = "weights' AUROC, wrong answers"


@dataclass(frozen=True)
class Change:
    """A changed row, the row that it was changed from, and how."""

    row: Row
    base: Row
    settings: str


@dataclass(frozen=True)
class Column:
    """One measure of every change: values, differences to the base row, how both are printed."""

    key: str
    title: str
    better: int
    value: Callable[[Row], str]
    difference: Callable[[Change], Difference | None]
    text: Callable[[Difference | None], str]


def base_label(results: Results) -> str:
    """The label of the ablated row; "" where the suite has no ablation."""
    of = (results.suite.get("ablation") or {}).get("of") or ""
    if isinstance(of, str):
        return of
    named = [str(name) for name in of if name != "label"]
    return str(of.get("label") or next(iter(named), ""))


def changes(results: Results) -> list[Change]:
    """Every changed row beside the base row of its condition, in the order of the rows."""
    planned = (results.suite.get("ablation") or {}).get("changes") or {}
    bases = {row.condition: row for row in results.rows if row.name == base_label(results)}
    return [
        Change(row, bases[row.condition], settings_text(planned[row.name]))
        for row in results.rows
        if row.name in planned and row.condition in bases
    ]


def settings_text(settings: dict[str, Any]) -> str:
    """Settings as text.

    >>> settings_text({"scores": ["consensus"], "floor": 0})
    'scores: consensus; floor: 0'
    """

    def plain(value: Any) -> str:
        if isinstance(value, list):
            return ", ".join(map(plain, value)) or "none"
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    return "; ".join(f"{name}: {plain(value)}" for name, value in settings.items())


def columns(results: Results) -> list[Column]:
    """Every main measure and, where it is known, the weights' AUROC."""
    found = [_measure_column(measure) for measure in results.main_measures]
    rows = [row for change in changes(results) for row in (change.row, change.base)]
    if any(rationale_stats(results)[row.label].latest(WEIGHT, WRONG) for row in rows):
        found.append(_auroc_column(results))
    return found


def _measure_column(measure: Measure) -> Column:
    return Column(
        key=measure.key,
        title=heading(measure),
        better=measure.shown.better,
        value=lambda row: with_sd(row.summary(measure), measure),
        difference=lambda change: difference(change.row, change.base, measure),
        text=lambda found: with_half_width(found, measure),
    )


def _auroc_column(results: Results) -> Column:
    def tally(row: Row) -> Tally | None:
        return rationale_stats(results)[row.label].latest(WEIGHT, WRONG)

    def value(row: Row) -> str:
        pairs = tally(row)
        return spread(auroc(pairs) if pairs else None, 2)

    def change_of(change: Change) -> Difference | None:
        mine, base = tally(change.row), tally(change.base)
        if mine is None or base is None:
            return None
        found = auroc_difference(mine, base)
        return Difference(found.value, found.half_width, items=found.questions, test="bootstrap")

    return Column("weights.auroc", f"{AUROC} ↑", 1, value, change_of, lambda d: spread(d, 2))


def table(results: Results) -> Table | None:
    """The ablation as a table; None where the suite has none."""
    found = changes(results)
    if not found:
        return None
    lines: list[tuple[Row, Change | None]] = []
    for base in {change.base.label: change.base for change in found}.values():
        lines += [(base, None), *((change.row, change) for change in found if change.base is base)]
    shown = {
        "row": [row.label for row, _ in lines],
        "what changed": [change.settings if change else NONE for _, change in lines],
    }
    numbers = []
    for column in columns(results):
        differences = [column.difference(change) if change else None for _, change in lines]
        shown[column.title] = [column.value(row) for row, _ in lines]
        shown[f"Δ {column.title.split(',')[0]}"] = [column.text(one) for one in differences]
        for (row, change), one in zip(lines, differences, strict=True):
            if change:
                key = results.key(row) | {"of": change.base.name, "changed": change.settings}
                numbers.append(key | {"measure": column.key} | vars(one or Difference(NAN)))
    text = captions.caption(results, *caption(results))
    title = f"What each change of {base_label(results)} does"
    return formats.table("ablation", title, text, shown, pd.DataFrame(numbers))


def caption(results: Results) -> Iterator[str]:
    """What the differences are to, and which interval is which."""
    yield (f"Differences are the changed row minus {base_label(results)}, which it is a change of")
    found = (difference(c.row, c.base, m) for c in changes(results) for m in results.main_measures)
    yield captions.intervals(found, "changes and measures")
    if any(column.key == "weights.auroc" for column in columns(results)):
        yield (
            "AUROC: how often a right rationale's weight is above that of a wrong one to the same "
            "question, 0.5 is chance; of later passes, or of the first where there is one only. "
            "Its interval is a bootstrap over questions alone"
        )
