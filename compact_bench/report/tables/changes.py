"""The ladder and the ablation: rows that differ by one change, and what each change does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from compact_bench.analysis.detection import Tally, auroc, auroc_difference
from compact_bench.analysis.headroom import gained
from compact_bench.analysis.results import Results, Row, difference
from compact_bench.analysis.statistics import NAN, Difference
from compact_bench.analysis.weights import WEIGHT, WRONG, rationale_stats
from compact_bench.report.parts import captions, formats
from compact_bench.report.parts.formats import Table
from compact_bench.report.parts.numbers import NONE, heading, spread, with_spread
from compact_bench.suite.metrics import Measure

BEFORE, START, GAIN = "rung before", "first rung", "share of gain"

AUROC = "weights.auroc"  # the key of a column


@dataclass(frozen=True)
class RungComparison:
    """A rung against another row on one measure; `found` is None where either is empty."""

    row: Row
    rung: int  # 0 is the first
    measure: Measure
    against: str  # BEFORE, START or GAIN
    other: Row
    found: Difference | None


@dataclass(frozen=True)
class Ladder:
    """The rungs under one condition, and the row that knows the truth (or None)."""

    rungs: tuple[Row, ...]
    truth: Row | None

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rungs and, if it isn't one of them, the row that knows the truth."""
        labels = {row.label for row in self.rungs}
        return self.rungs + tuple(r for r in (self.truth,) if r and r.label not in labels)


def ladders(results: Results) -> list[Ladder]:
    """One ladder for each condition; of its rows those that there are, at least two."""
    found = []
    for condition in [str(one["name"]) for one in results.conditions] or [""]:
        rows = [results.named(str(name), condition) for name in results.suite.get("ladder") or ()]
        truth = results.named(str(results.suite.get("regret_to") or ""), condition)
        found.append(Ladder(tuple(row for row in rows if row is not None), truth))
    return [ladder for ladder in found if len(ladder.rungs) > 1]


def ladder_measures(results: Results) -> list[Measure]:
    """The first reasoning task's headline and the marginal NLL beside it."""
    headline = next(iter(results.headlines("reasoning")), None)
    return [m for m in results.main_measures if headline and m.task == headline.task]


def comparisons(ladder: Ladder, measure: Measure) -> Iterator[RungComparison]:
    """Each rung to the one before and to the first, and its share of what the truth would gain."""
    first, truth = ladder.rungs[0], ladder.truth
    for rung, row in enumerate(ladder.rows[1:], start=1):
        others = [(START, first, difference(row, first, measure, ladder.rows))]
        if rung < len(ladder.rungs):
            before = ladder.rungs[rung - 1]
            found = difference(row, before, measure, ladder.rows)
            others.insert(0, (BEFORE, before, found))
            if truth is not None:
                others.append((GAIN, truth, gained(row, first, truth, measure, ladder.rows)))
        for against, other, found in others:
            yield RungComparison(row, rung, measure, against, other, found)


def ladder(results: Results) -> Table | None:
    """The ladder as a table; None where the suite has none."""
    found, shown = ladders(results), ladder_measures(results)
    if not found or not shown:
        return None
    rows = [row for ladder in found for row in ladder.rows]
    every = [one for ladder in found for m in shown for one in comparisons(ladder, m)]
    by_key = {(one.row.label, one.measure, one.against): one.found for one in every}
    columns = {"rung": [row.label for row in rows]}
    for m in shown:
        columns[heading(m)] = [with_spread(row.summary(m), m) for row in rows]
        name = m.shown.title.split(",")[0]
        for against, title in ((BEFORE, "the rung before"), (START, found[0].rungs[0].name)):
            texts = [with_spread(by_key.get((row.label, m, against)), m) for row in rows]
            columns[f"Δ {name} to {title}"] = texts
        if found[0].truth is not None:
            gains = [by_key.get((row.label, m, GAIN)) for row in rows]
            title = f"{name}: share of {found[0].truth.name}'s gain, %"
            columns[title] = [spread(gain, scale=100, signed=False) for gain in gains]
    numbers = [
        results.key(one.row)
        | {"rung": one.rung, "task": one.measure.task, "metric": one.measure.metric}
        | {"against": one.against, "other": one.other.name}
        | vars(one.found or Difference(NAN))
        for one in every
    ]
    text = captions.caption(results, *ladder_caption(found[0], every))
    return formats.table("ladder", "The ladder", text, columns, pd.DataFrame(numbers))


def ladder_caption(
    ladder: Ladder, every: Iterable[RungComparison], shares: bool = True
) -> Iterator[str]:
    """How to read neighbours."""
    first, last = ladder.rungs[0].name, ladder.rungs[-1].name
    yield (
        f"Rows from the plainest ({first}) to the fullest ({last}), each doing one thing more than "
        "the one before it. The difference to the rung before is what this one thing adds; the "
        f"difference to {first} is what all so far add together. Where the interval to the rung "
        "before includes 0, these results don't show that this one thing does anything, however "
        f"far {last} is from {first}"
    )
    yield captions.intervals((one.found for one in every), "rungs")
    if ladder.truth is not None and shares:
        truth = ladder.truth.name
        yield (
            f"Share of {truth}'s gain: (A − A of {first}) / (A of {truth} − A of {first}), its "
            "interval by the delta method with the crossed variance. No share is given where the "
            f"interval of {truth} − {first} includes 0, or where {truth} is the worse: there is no "
            "gain to share"
        )


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


def ablation_columns(results: Results) -> list[Column]:
    """Every main measure and, where it is known, the weights' AUROC."""

    def of_measure(measure: Measure) -> Column:
        return Column(
            key=measure.key,
            title=heading(measure),
            better=measure.shown.better,
            value=lambda row: with_spread(row.summary(measure), measure),
            difference=lambda change: difference(change.row, change.base, measure, results.rows),
            text=lambda found: with_spread(found, measure),
        )

    def tally(row: Row) -> Tally | None:
        return rationale_stats(results)[row.label].latest(WEIGHT, WRONG)

    def auroc_text(row: Row) -> str:
        pairs = tally(row)
        return spread(auroc(pairs) if pairs else None, 2)

    def auroc_change(change: Change) -> Difference | None:
        mine, base = tally(change.row), tally(change.base)
        if mine is None or base is None:
            return None
        found = auroc_difference(mine, base)
        return Difference(found.value, found.half_width, items=found.questions, test="bootstrap")

    columns = [of_measure(measure) for measure in results.main_measures]
    if any(tally(row) for change in changes(results) for row in (change.row, change.base)):
        title = "weights' AUROC, wrong answers ↑"
        columns.append(Column(AUROC, title, 1, auroc_text, auroc_change, lambda d: spread(d, 2)))
    return columns


def ablation(results: Results) -> Table | None:
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
    for column in ablation_columns(results):
        differences = [column.difference(change) if change else None for _, change in lines]
        shown[column.title] = [column.value(row) for row, _ in lines]
        shown[f"Δ {column.title.split(',')[0]}"] = [column.text(one) for one in differences]
        for (row, change), one in zip(lines, differences, strict=True):
            if change:
                key = results.key(row) | {"of": change.base.name, "changed": change.settings}
                numbers.append(key | {"measure": column.key} | vars(one or Difference(NAN)))
    text = captions.caption(results, *ablation_caption(results))
    title = f"What each change of {base_label(results)} does"
    return formats.table("ablation", title, text, shown, pd.DataFrame(numbers))


def ablation_caption(results: Results) -> Iterator[str]:
    """What the differences are to, and which interval is which."""
    yield (f"Differences are the changed row minus {base_label(results)}, which it is a change of")
    found = (
        difference(c.row, c.base, m, results.rows)
        for c in changes(results)
        for m in results.main_measures
    )
    yield captions.intervals(found, "changes and measures")
    if any(column.key == AUROC for column in ablation_columns(results)):
        yield (
            "AUROC: how often a right rationale's weight is above that of a wrong one to the same "
            "question, 0.5 is chance; of later passes, or of the first where there is one only. "
            "Its interval is a bootstrap over questions alone"
        )
