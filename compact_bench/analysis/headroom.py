"""What faults of the teachers cost under each condition, who makes up for it, what detects them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from compact_bench.analysis import claims, statistics
from compact_bench.analysis.detection import Auroc, auroc
from compact_bench.analysis.results import Results, Row, cached, difference, peers
from compact_bench.analysis.statistics import Difference
from compact_bench.analysis.weights import (
    ANY,
    TRIVIAL,
    WEIGHT,
    RationaleStats,
    rationale_stats,
    trivial_row,
)
from compact_bench.suite.metrics import Measure

HARM, RECOVERABLE, PRICE = "harm", "recoverable", "price"
_EVEN = 0.005  # a weight of faults that is nearer to their share is the same as equal weights


@dataclass(frozen=True, eq=False)
class Headroom:
    """One condition: its reference row, the one that knows the truth, the one without faults.

    gaps: HARM (repaired - reference), RECOVERABLE (truth - reference) and PRICE (repaired - truth)
    of the headline reasoning measure; None where a row is missing.
    """

    condition: str
    reference: Row
    truth: Row | None
    without_faults: Row | None
    gaps: Mapping[str, Difference | None]
    better: int  # 1: more is better, -1: less

    @property
    def clear(self) -> bool:
        """Whether there is something to gain: the truth is better, and the interval excludes 0."""
        gap = self.gaps[RECOVERABLE]
        return gap is not None and gap.clear and gap.mean * self.better > 0


def headline(results: Results) -> Measure | None:
    """The first reasoning task's headline: what gaps and shares are of."""
    return next(iter(results.headlines("reasoning")), None)


@cached
def headrooms(results: Results) -> tuple[Headroom, ...]:
    """Every condition that has the reference row: first the controls, which have no headroom.

    Empty unless the suite names the row that knows the truth and the repaired one.
    """
    names = [
        str(results.suite.get(key) or "") for key in ("compare_to", "regret_to", "without_faults")
    ]
    measure = headline(results)
    if measure is None or not all(names):
        return ()
    found = []
    for condition in [str(one["name"]) for one in results.conditions] or [""]:
        reference, truth, repaired = (results.named(name, condition) for name in names)
        if reference is None:
            continue
        sides = {HARM: (repaired, reference), RECOVERABLE: (truth, reference),
                 PRICE: (repaired, truth)}  # fmt: skip
        gaps = {
            name: difference(one, other, measure, results.rows) if one and other else None
            for name, (one, other) in sides.items()
        }
        better = measure.shown.better
        found.append(Headroom(condition, reference, truth, repaired, gaps, better))
    return tuple(sorted(found, key=lambda one: one.clear))  # else in the suite's order


def gained(
    row: Row, first: Row, truth: Row, measure: Measure, rows: Sequence[Row] = ()
) -> Difference | None:
    """(A - A_first) / (A_truth - A_first) with its interval; None where that means nothing.

    It means something where the row that knows the truth is better than the first one.
    """
    pairs = [difference(one, first, measure, rows) for one in (row, truth)]
    if any(one is None or one.test != "crossed" for one in pairs):
        return None
    if pairs[1] is None or pairs[1].mean * measure.shown.better <= 0:
        return None
    key = measure.task, measure.shown.item_column
    others = [one for one in peers(rows, row, first) if key in one.items]
    tables = [one.items[key] for one in (row, first, truth, *others)]
    mine, start, best, *tops = statistics.aligned(tables)
    return statistics.ratio(mine - start, best - start, peers=[top - start for top in tops])


@dataclass(frozen=True)
class Recovery:
    """One row under one condition against the reference row.

    share: of what could be gained, None where nothing could; difference: as it is; p: corrected
    for the comparisons of the main table, NaN where there is no test.
    """

    row: Row
    share: Difference | None
    difference: Difference
    p: float

    @property
    def marked(self) -> bool:
        """Whether the difference survives the correction, and so may be claimed."""
        return self.p < claims.LEVEL


def methods(results: Results) -> list[str]:
    """The names of the trained rows that are neither the reference nor made from the truth."""
    keys = ("compare_to", "regret_to", "without_faults")
    known = {row.label for one in headrooms(results)
             for row in (one.reference, one.truth, one.without_faults) if row}  # fmt: skip
    left_out = {str(results.suite.get(key)) for key in keys}
    rows = [row for row in results.rows if row.trained and row.label not in known]
    return list(dict.fromkeys(row.name for row in rows if row.name not in left_out))


@cached
def recovery(results: Results, headroom: Headroom, name: str) -> Recovery | None:
    """What a row gains under a condition; None where it has no value there."""
    row, measure = results.named(name, headroom.condition), headline(results)
    if row is None or measure is None or row.condition != headroom.condition:
        return None
    found = results.difference(row, measure)
    if found is None:
        return None
    share = None
    if headroom.clear and headroom.truth is not None:
        share = gained(row, headroom.reference, headroom.truth, measure, results.rows)
    return Recovery(row, share, found, claims.family(results).p(row, measure))


@dataclass(frozen=True)
class ScoreDetection:
    """How well a score tells clean right rationales from faulty ones, and whose records say so."""

    auroc: Auroc
    read_by: Row


@cached
def detectors(results: Results, condition: str) -> dict[str, ScoreDetection]:
    """By score: its AUROC for any fault, in the later passes where there are some.

    Agreement, likelihood and shortness need no method.  Every other score is that of the first
    row, in the suite's order, of those that read most rationales with it.
    """
    stats = rationale_stats(results)
    found: dict[str, ScoreDetection] = {}
    plain = trivial_row(results, condition)
    rows = _readers(results, condition)
    names = dict.fromkeys(name for row in rows for name in stats[row.label].scores)
    for name in (*TRIVIAL, *names):
        readers = [plain] if name in TRIVIAL else rows
        known = [row for row in readers if row and _tally(stats[row.label], name)]
        if known:
            row = max(known, key=lambda one: stats[one.label].count)
            tally = stats[row.label].latest(name, ANY)
            assert tally is not None
            found[name] = ScoreDetection(auroc(tally), row)
    return found


def _readers(results: Results, condition: str) -> list[Row]:
    """The rows that read the bank as it is, trained or not: the repaired one read no fault."""
    rows = [row for row in results.rows if row.condition == condition]
    return [row for row in rows if row.name != results.suite.get("without_faults")]


def _tally(stats: RationaleStats, name: str) -> bool:
    return stats.latest(name, ANY) is not None


@cached
def fault_weights(results: Results, condition: str) -> dict[str, Difference]:
    """By row: the weight of faulty rationales over what equal weights would give them.

    1: it doesn't tell them apart, 0: it reads none of them.  The interval is a t interval over
    seeds, without one where there is one seed.
    """
    found = {}
    for row in _readers(results, condition):
        stats = rationale_stats(results)[row.label]
        if stats.corrupted:
            found[row.name] = statistics.over_items(np.array([*stats.corrupted.values()]))
    return found


def weighting(results: Results) -> list[str]:
    """The names of `methods` whose weights differ from equal ones on faults or otherwise."""
    stats = rationale_stats(results)
    moved = {row.name for row in results.rows
             if stats[row.label].unequal and stats[row.label].has_pairs(WEIGHT)}  # fmt: skip
    for one in headrooms(results):
        ratios = fault_weights(results, one.condition)
        moved |= {name for name, ratio in ratios.items() if abs(ratio.mean - 1) > _EVEN}
    return [name for name in methods(results) if name in moved]
