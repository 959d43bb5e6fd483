"""Curve records -> paths of retention against gain, over training and over the change's scale."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from compact_bench.analysis import statistics
from compact_bench.analysis.results import Results, Row
from compact_bench.records.joining import NO_SEED, Seed, joined
from compact_bench.suite.metrics import KL_FROM_BASE
from compact_bench.suite.schema import IN_DOMAIN
from compact_bench.utils.processes import mapped

CHECKPOINT, SCALE, RELEARNED = "checkpoint", "scale", "relearned"


@dataclass(frozen=True)
class TaskAccuracy:
    """One task's accuracy at one point of a curve, on n items."""

    role: str
    value: float
    n: int
    chance: float


Reading = Mapping[str, TaskAccuracy]  # by task

# Records that have one of these are of a version whose evaluation keeps all that is read here.
_RECENT = (KL_FROM_BASE, "text_nll", "majority")

Curve = Mapping[tuple[str, float], Reading]  # by kind and place


@dataclass(frozen=True)
class Point:
    """Where a student stands: accuracy gained in domain, and the mean share of old skill kept."""

    at: float
    gain: float
    kept: float


def evidence_recorded(results: Results) -> bool:
    """Whether the records are recent enough; tables of older ones stay as they were published."""
    return any(measure.metric in _RECENT for measure in results.measures)


def curves_of(results: Results) -> dict[str, dict[Seed, Curve]]:
    """Every row's curve by label and seed; cells without one are left out."""
    if "retention curves" not in results.computed:
        labels = [row.label for row in results.rows]
        every = mapped(_curves, results.rows)
        results.computed["retention curves"] = dict(zip(labels, every, strict=True))
    known: dict[str, dict[Seed, Curve]] = results.computed["retention curves"]
    return known


def _curves(row: Row) -> dict[Seed, Curve]:
    """The accuracies of curve.parquet; other metrics and filters of a task are not compared."""
    frame = joined((seed, cell.curve_table()) for seed, cell in row.done.items())
    if frame.empty:
        return {}
    kept = frame[frame["metric"].eq("accuracy") & frame["filter"].isin(["strict", "none"])]
    curves: dict[Seed, dict[tuple[str, float], dict[str, TaskAccuracy]]] = {}
    columns = ["seed", "kind", "at", "task", "role", "value", "n", "chance"]
    for seed, kind, at, task, role, value, n, chance in kept[columns].itertuples(index=False):
        curve = curves.setdefault(None if seed == NO_SEED else int(seed), {})
        reading = curve.setdefault((str(kind), round(float(at), 6)), {})
        reading[str(task)] = TaskAccuracy(str(role), float(value), int(n), float(chance))
    return dict(curves)


def start(results: Results) -> Reading | None:
    """The untrained student's own reading; None where it has none."""
    curves = curves_of(results)
    found = [
        curve[CHECKPOINT, 0.0]
        for row in results.rows
        if not row.trained
        for curve in curves[row.label].values()
        if (CHECKPOINT, 0.0) in curve
    ]
    return next(iter(found), None)


def kept(reading: Reading, before: Reading) -> dict[str, float]:
    """Retention of each forgetting task that both were asked on equally many items."""
    shares = {
        task: statistics.retention(one.value, before[task].value, one.chance)
        for task, one in reading.items()
        if one.role == "forgetting" and task in before and before[task].n == one.n
    }
    return {task: share for task, share in shares.items() if math.isfinite(share)}


def point(at: float, reading: Reading, before: Reading) -> Point | None:
    """Where a reading stands against the untrained student's; None where a part is missing."""
    shares = kept(reading, before)
    mine, base = reading.get(IN_DOMAIN), before.get(IN_DOMAIN)
    if mine is None or base is None or mine.n != base.n or not shares:
        return None
    return Point(at, mine.value - base.value, float(np.mean(list(shares.values()))))


def path(results: Results, row: Row, kind: str) -> dict[Seed, tuple[Point, ...]]:
    """From the untrained (0) to the trained student (1), by seed.

    Seeds without a point in between, or without both ends, are left out.
    """
    before = start(results)
    found = {}
    for seed, curve in curves_of(results)[row.label].items() if before and row.trained else ():
        readings = {at: one for (what, at), one in curve.items() if what == kind and 0 < at < 1}
        if readings and (CHECKPOINT, 1.0) in curve and before is not None:
            readings |= {0.0: before, 1.0: curve[CHECKPOINT, 1.0]}
            points = [point(at, readings[at], before) for at in sorted(readings)]
            if points[0] and points[-1]:
                found[seed] = tuple(one for one in points if one)
    return found


def mean_path(paths: Mapping[Seed, Sequence[Point]]) -> tuple[Point, ...]:
    """Mean over seeds, at the places that every seed has."""
    by_place = [{one.at: one for one in points} for points in paths.values()]
    places = set.intersection(*map(set, by_place)) if by_place else set()
    return tuple(
        Point(
            at,
            float(np.mean([points[at].gain for points in by_place])),
            float(np.mean([points[at].kept for points in by_place])),
        )
        for at in sorted(places)
    )


def at_gain(points: Sequence[Point], gain: float) -> float | None:
    """Retention where the path first reaches a gain, linear between points; None where it doesn't.

    A path that falls back and comes again counts where it is first: the least change that gives
    the gain.

    >>> at_gain([Point(0, 0.0, 1.0), Point(1, 0.4, 0.8)], 0.1)
    0.95
    """
    for one, two in pairwise(points):
        if one.gain == gain:
            return one.kept
        if min(one.gain, two.gain) < gain <= max(one.gain, two.gain):
            share = (gain - one.gain) / (two.gain - one.gain)
            return one.kept + share * (two.kept - one.kept)
    return None
