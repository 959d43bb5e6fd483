"""The ladder: rows from the plainest to the fullest, each compared to the one before it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from compact_bench.analysis import statistics
from compact_bench.analysis.results import Results, Row, difference
from compact_bench.analysis.statistics import Difference
from compact_bench.report.parts import captions, formats
from compact_bench.report.parts.formats import Table
from compact_bench.report.parts.numbers import heading, spread, with_half_width, with_sd
from compact_bench.suite.metrics import Measure

BEFORE, START, GAIN = "rung before", "first rung", "share of gain"


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
    conditions = [str(one["name"]) for one in results.conditions] or [""]
    found = []
    for condition in conditions:
        rows = [results.named(str(name), condition) for name in results.suite.get("ladder") or ()]
        truth = results.named(str(results.suite.get("regret_to") or ""), condition)
        found.append(Ladder(tuple(row for row in rows if row is not None), truth))
    return [ladder for ladder in found if len(ladder.rungs) > 1]


def measures(results: Results) -> list[Measure]:
    """The first reasoning task's headline and the marginal NLL beside it."""
    headline = next(iter(results.headlines("reasoning")), None)
    return [m for m in results.main_measures if headline and m.task == headline.task]


def comparisons(ladder: Ladder, measure: Measure) -> Iterator[RungComparison]:
    """Each rung to the one before and to the first, and its share of what the truth would gain."""
    first, truth = ladder.rungs[0], ladder.truth
    for rung, row in enumerate(ladder.rows[1:], start=1):
        others = [(START, first, difference(row, first, measure))]
        if rung < len(ladder.rungs):
            before = ladder.rungs[rung - 1]
            others.insert(0, (BEFORE, before, difference(row, before, measure)))
            if truth is not None:
                others.append((GAIN, truth, gained(row, first, truth, measure)))
        for against, other, found in others:
            yield RungComparison(row, rung, measure, against, other, found)


def gained(row: Row, first: Row, truth: Row, measure: Measure) -> Difference | None:
    """(A - A_first) / (A_truth - A_first) with its interval; None where that means nothing.

    It means something where the row that knows the truth is better than the first rung.
    """
    pairs = [difference(one, first, measure) for one in (row, truth)]
    if any(one is None or one.test != "crossed" for one in pairs):
        return None
    if pairs[1] is None or pairs[1].mean * measure.shown.better <= 0:
        return None
    key = measure.task, measure.shown.item_column
    mine, start, best = statistics.aligned([one.items[key] for one in (row, first, truth)])
    return statistics.ratio(mine - start, best - start)


def table(results: Results) -> Table | None:
    """The ladder as a table; None where the suite has none."""
    found = ladders(results)
    shown = measures(results)
    if not found or not shown:
        return None
    rows = [row for ladder in found for row in ladder.rows]
    every = [one for ladder in found for m in shown for one in comparisons(ladder, m)]
    by_key = {(one.row.label, one.measure, one.against): one.found for one in every}
    start = found[0].rungs[0].name
    columns = {"rung": [row.label for row in rows]}
    for m in shown:
        against = {
            kind: [by_key.get((row.label, m, kind)) for row in rows]
            for kind in (BEFORE, START, GAIN)
        }
        columns[heading(m)] = [with_sd(row.summary(m), m) for row in rows]
        name = m.shown.title.split(",")[0]
        columns[f"Δ {name} to the rung before"] = [with_half_width(d, m) for d in against[BEFORE]]
        columns[f"Δ {name} to {start}"] = [with_half_width(d, m) for d in against[START]]
        if found[0].truth is not None:
            gains = [spread(d, scale=100, signed=False) for d in against[GAIN]]
            columns[f"{name}: share of {found[0].truth.name}'s gain, %"] = gains
    text = captions.caption(results, *caption(found[0], every))
    return formats.table("ladder", "The ladder", text, columns, numbers(results, every))


def numbers(results: Results, every: list[RungComparison]) -> pd.DataFrame:
    """One comparison a line, unrounded."""
    lines: list[dict[str, Any]] = [
        results.key(one.row)
        | {"rung": one.rung, "task": one.measure.task, "metric": one.measure.metric}
        | {"against": one.against, "other": one.other.name}
        | vars(one.found or Difference(statistics.NAN))
        for one in every
    ]
    return pd.DataFrame(lines)


def caption(ladder: Ladder, every: Iterable[RungComparison], shares: bool = True) -> Iterator[str]:
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
