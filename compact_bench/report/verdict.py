"""The first screen of a page: the answer in two sentences, three tiles and a short table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from compact_bench.analysis import claims
from compact_bench.analysis.results import Results, Row
from compact_bench.analysis.statistics import Difference
from compact_bench.report.parts import captions
from compact_bench.report.parts.numbers import compact, number, scale, share, with_spread
from compact_bench.report.tables.main import KEPT, marked_differences, old_skill_kept
from compact_bench.suite.metrics import Measure

MOST_NAMES = 4  # rows that a sentence names
MOST_AS_THEY_ARE = 12  # rows in the suite's order; of more the best come first
SAME = "as many as"  # FLOPs in two digits


@dataclass(frozen=True)
class Tile:
    """One fact: what it is about, the row that has it, the number, and what to know of it."""

    title: str
    row: str
    value: str
    note: str


@dataclass(frozen=True)
class Drawn:
    """A difference as a line in a cell, all in percent of the cell's width.

    state: "claimed" (survives the correction), "clear" (the interval excludes 0), "none".
    """

    text: str
    low: float = 0.0
    high: float = 0.0
    middle: float = 0.0
    zero: float = 0.0
    state: str = ""


@dataclass(frozen=True)
class ShortTable:
    """At most seven columns of the main table; cells are texts or drawn differences."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str | Drawn, ...], ...]


@dataclass(frozen=True)
class Verdict:
    """What a reader sees first. condition: the one that it is about, where a suite has several.

    solved_by: labels of the best row and of the row that it is compared to, for the samples.
    """

    sentences: tuple[str, ...]
    tiles: tuple[Tile, ...]
    table: ShortTable
    condition: str = ""
    solved_by: tuple[str, ...] = ()


def verdict(results: Results) -> Verdict | None:
    """The answer to the suite's question; None where no row has a reasoning measure."""
    measure = next(iter(results.headlines("reasoning")), None)
    condition = str(results.conditions[0]["name"]) if results.conditions else ""
    here = [row for row in results.rows if row.condition in ("", condition)]
    rows = [row for row in here if measure in row.values]
    if measure is None or not rows:
        return None
    trained = [row for row in rows if row.trained]
    trained = [row for row in trained if row.complete] or trained
    table = short_table(results, here, measure)
    if not trained:
        return Verdict(("No row was trained yet.",), (), table, condition)
    if measure.metric == "accuracy" and not any(row.summary(measure).mean for row in trained):
        return Verdict(("No trained row has a right answer.",), (), table, condition)
    best = max(trained, key=lambda row: measure.shown.better * row.summary(measure).mean)
    level = claims.not_worse(results, measure) if len(results.seeds) > 1 else set()
    alike = [row for row in trained if row.label in level and row is not best]
    sentences = (
        _best(results, best, measure),
        _beside(results, best, alike, trained, measure),
        *_over_conditions(results, measure),
    )
    tiles = _tiles(results, best, alike, trained, measure)
    other = results.compared_to(best)
    solved_by = (best.label, other.label) if other else ()
    return Verdict(sentences, tiles, table, condition, solved_by)


def _best(results: Results, best: Row, measure: Measure) -> str:
    """Which row is best, and by how much."""
    value = number(best.summary(measure).mean, measure) + ("%" if measure.shown.percent else "")
    where = f" under {best.condition}" if best.condition else ""
    known = f"{measure.task_title}: {measure.shown.title} {value}"
    first = f"{best.name} is the best trained row{where} ({known})"
    reference, found = results.compared_to(best), results.difference(best, measure)
    if reference is None or found is None:
        alone = "one seed supports no claim" if len(results.seeds) < 2 else "no row is above it"
        return f"{first}: {alone}."
    unit = " points" if measure.shown.percent else ""
    gap = f"{number(abs(found.mean), measure)}"
    more = "above" if found.mean > 0 else "below"
    if not math.isfinite(found.half_width):
        return f"{first}, {gap}{unit} {more} {reference.name}: one seed supports no claim."
    width = number(found.half_width, measure)
    verdict = "" if claims.family(results).survives(best, measure) else ", which is no claim"
    return f"{first}, {gap} ± {width}{unit} {more} {reference.name}{verdict}."


def _over_conditions(results: Results, measure: Measure) -> list[str]:
    """In how many conditions a row is above and below the one compared to, as claims; [] for one.

    Of the rows that no truth was told; those with the most claims above, then the fewest below.
    """
    family, better = claims.family(results), measure.shown.better
    told = {results.suite.get("regret_to"), results.suite.get("without_faults")}
    above, below = Counter[str](), Counter[str]()
    for row in results.rows:
        found = results.difference(row, measure)
        if row.trained and found is not None and family.survives(row, measure):
            (above if better * found.mean > 0 else below)[row.name] += 1
    names = [name for name in dict.fromkeys([*above, *below]) if name not in told]
    if len(results.conditions) < 2 or not names:
        return []
    names = sorted(names, key=lambda name: (-above[name], below[name]))[:MOST_NAMES]
    counts = ", ".join(f"{name} in {above[name]} and {below[name]}" for name in names)
    every, other = len(results.conditions), captions.reference(results)
    return [f"Of {every} conditions, clearly above and below {other}: {counts}."]


def _beside(
    results: Results, best: Row, alike: Sequence[Row], trained: Sequence[Row], measure: Measure
) -> str:
    """What can't be told from the best row, and what the best costs."""
    cost, reference = _times(results, best), captions.reference(results)
    costs = f"It trains with {cost} the FLOPs of {reference}" if cost else ""
    if cost == SAME:
        costs = f"It trains at the same FLOPs as {reference}"
    if len(results.seeds) < 2 or len(trained) < 2:
        return f"{costs}." if costs else "Nothing stands beside it."
    if not alike:
        others = "every other trained row is clearly below it"
    else:
        names = [row.name for row in alike[:MOST_NAMES]]
        more = f" and {len(alike) - MOST_NAMES} more" if len(alike) > MOST_NAMES else ""
        others = f"{', '.join(names)}{more} can't be told from it"
    return f"{costs}; {others}." if costs else f"{others[0].upper()}{others[1:]}."


def flops_ratio(results: Results, row: Row) -> float:
    """A row's training FLOPs over those of the row that it is compared to; NaN where unknown."""
    reference = results.compared_to(row)
    if reference is None:
        return math.nan
    mine, other = (one.cost("flops").mean for one in (row, reference))
    return mine / other if mine > 0 and other > 0 else math.nan


def _times(results: Results, row: Row) -> str:
    """The same as words; "" where it is unknown."""
    ratio = flops_ratio(results, row)
    times = f"{ratio:.2g}"
    return "" if math.isnan(ratio) else SAME if times == "1" else f"{times} times"


def _tiles(
    results: Results, best: Row, alike: Sequence[Row], trained: Sequence[Row], measure: Measure
) -> tuple[Tile, ...]:
    """Best reasoning, best kept, and the cheapest that can't be told from the best."""
    beside = f"{len(alike)} other rows can't be told from it" if alike else "clearly above the rest"
    if len(results.seeds) < 2:
        beside = "one seed: no claim"
    title = f"best, {measure.task_title}, {'%' if measure.shown.percent else measure.shown.title}"
    tiles = [Tile(title, best.name, with_spread(best.summary(measure), measure), beside)]
    kept = {row.label: results.retention_summary(row).mean for row in trained}
    known = [row for row in trained if math.isfinite(kept[row.label])]
    if known:
        most = max(known, key=lambda row: kept[row.label])
        reasons = f"{measure.task_title} {with_spread(most.summary(measure), measure)}"
        tiles.append(Tile("keeps most old skill, %", most.name, share(kept[most.label]), reasons))
    priced = [row for row in (best, *alike) if row.cost("flops").mean > 0]
    if priced:
        cheap = min(priced, key=lambda row: row.cost("flops").mean)
        times = _times(results, cheap)
        tiles.append(
            Tile(
                "cheapest beside the best, FLOPs",
                cheap.name,
                compact(cheap.cost("flops").mean),
                f"{times} {captions.reference(results)}'s" if times else "the reference itself",
            )
        )
    return tuple(tiles)


def short_table(results: Results, rows: Sequence[Row], measure: Measure) -> ShortTable:
    """Method, reasoning, its difference drawn, the next reasoning task, old skill, cost, done."""
    if len(rows) > MOST_AS_THEY_ARE:
        values = {row.label: measure.shown.better * row.summary(measure).mean for row in rows}
        known = {label: value for label, value in values.items() if math.isfinite(value)}
        rows = sorted(rows, key=lambda row: -known.get(row.label, -math.inf))
    columns: dict[str, list[str | Drawn]] = {"method": [row.name for row in rows]}
    columns[_short(measure)] = [with_spread(row.summary(measure), measure) for row in rows]
    columns[f"Δ to {captions.reference(results)}"] = list(drawn(results, rows, measure))
    for other in results.headlines("reasoning")[1:2]:
        columns[_short(other)] = [with_spread(row.summary(other), other) for row in rows]
    if results.headlines("forgetting"):
        columns[KEPT.removesuffix(" ↑")] = [old_skill_kept(results, row) for row in rows]
    columns["FLOPs"] = [compact(row.cost("flops").mean) for row in rows]
    columns["done"] = [f"{len(row.done)}/{len(row.cells)}" for row in rows]
    return ShortTable(tuple(columns), tuple(zip(*columns.values(), strict=True)))


def _short(measure: Measure) -> str:
    return f"{measure.task_title}, {'%' if measure.shown.percent else measure.shown.title}"


def drawn(results: Results, rows: Sequence[Row], measure: Measure) -> list[Drawn]:
    """The differences to the reference row, on one scale that holds every interval and 0."""
    found = [results.difference(row, measure) for row in rows]
    texts = marked_differences(results, rows, measure)
    known = [one for one in found if one is not None and math.isfinite(one.half_width)]
    if not known:
        return [Drawn(text) for text in texts]
    low = min(0.0, *(one.mean - one.half_width for one in known))
    high = max(0.0, *(one.mean + one.half_width for one in known))
    size = (high - low) or 1 / scale(measure)

    def at(value: float) -> float:
        return round(2 + 96 * (value - low) / size, 2)

    def one(row: Row, difference: Difference | None, text: str) -> Drawn:
        if difference is None or not math.isfinite(difference.half_width):
            return Drawn(text)
        claimed = claims.family(results).survives(row, measure)
        state = "claimed" if claimed else "clear" if difference.clear else "none"
        ends = (difference.mean - difference.half_width, difference.mean + difference.half_width)
        return Drawn(text, at(ends[0]), at(ends[1]), at(difference.mean), at(0.0), state)

    return [one(*each) for each in zip(rows, found, texts, strict=True)]
