"""A new run beside the published one: the same within the interval, or not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compact_bench.analysis import results
from compact_bench.analysis.results import Row, difference
from compact_bench.analysis.statistics import Difference
from compact_bench.records.cells import without_paths
from compact_bench.report.parts.numbers import with_half_width, with_sd
from compact_bench.suite.metrics import Measure

SAME, DIFFERENT, MISSING, UNKNOWN = "same", "different", "missing", "no interval"

# What decides a cell's numbers: where these differ, the runs were asked for different things.
COMPARED = (
    "version", "config", "student", "student_hash", "data", "data_hash", "training", "evaluation",
    "limit", "threads", "engine_version",
)  # fmt: skip

_EXACT = 1e-9  # differences below this are rounding


@dataclass(frozen=True)
class Reproduction:
    """One row and measure of two runs; `asked` names the parts of the spec that differ."""

    label: str
    measure: Measure
    published: str  # mean ± sd
    new: str
    difference: float  # new - published
    half_width: float  # of its 95% interval
    interval: str  # "crossed" (seeds x items), "items" (one seed) or "none"
    verdict: str
    asked: tuple[str, ...] = ()

    def as_row(self) -> dict[str, Any]:
        """A row to print: texts, and `same` as a bool."""
        found = Difference(self.difference, self.half_width)
        return {
            "method": self.label,
            "task": self.measure.task_title,
            "metric": self.measure.shown.title,
            "published": self.published,
            "new": self.new,
            "difference": with_half_width(found, self.measure),
            "same": self.verdict == SAME,
            "verdict": self.verdict,
            "asked": f"other {', '.join(self.asked)}" if self.asked else "",
        }


def reproduce(folder_new: Path, folder_published: Path) -> list[dict[str, Any]]:
    """Compare a run to the published one: the rows of `compare`, ready to print."""
    return [one.as_row() for one in compare(folder_new, folder_published)]


def compare(folder_new: Path, folder_published: Path) -> list[Reproduction]:
    """Compare a run to the published one, for each row and headline measure that either has.

    "same": the difference is within the half-width of its 95% interval, by the crossed test of
    seeds and items or, for one common seed, over the items alone; equal values are the same in any
    case.  Raises UserError where one of the folders holds no results.
    """
    new, old = results.read(folder_new), results.read(folder_published)
    rows_new, rows_old = ({row.label: row for row in run.rows} for run in (new, old))
    measures = dict.fromkeys([*old.main_measures, *new.main_measures])
    nothing = Row("", "", {})
    pairs = [
        (rows_new.get(label, nothing), rows_old.get(label, nothing), measure)
        for label in dict.fromkeys([*rows_old, *rows_new])
        for measure in measures
    ]
    return [
        _compare(one, other, measure)
        for one, other, measure in pairs
        if measure in one.values or measure in other.values
    ]


def _compare(new: Row, old: Row, measure: Measure) -> Reproduction:
    found = difference(new, old, measure, one_seed=True)
    return Reproduction(
        label=new.label or old.label,
        measure=measure,
        published=with_sd(old.summary(measure), measure),
        new=with_sd(new.summary(measure), measure),
        difference=found.mean if found else math.nan,
        half_width=found.half_width if found else math.nan,
        interval=found.test if found else "none",
        verdict=_verdict(found),
        asked=asked_differently(new, old),
    )


def _verdict(found: Difference | None) -> str:
    if found is None:
        return MISSING
    if abs(found.mean) <= max(_EXACT, found.half_width if math.isfinite(found.half_width) else 0):
        return SAME
    return DIFFERENT if math.isfinite(found.half_width) else UNKNOWN


def asked_differently(new: Row, old: Row) -> tuple[str, ...]:
    """Names of the parts of the spec in which two rows differ, folders apart."""
    specs = [[cell.spec for cell in row.cells.values() if cell.spec] for row in (new, old)]
    if not all(specs):
        return ()
    one, other = (without_paths(found[0]) for found in specs)
    return tuple(name for name in COMPARED if one.get(name) != other.get(name))
