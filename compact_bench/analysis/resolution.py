"""What a suite can see: the interval and detectable difference that its items and seeds give."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

import numpy as np
from scipy import special

from compact_bench.analysis import claims
from compact_bench.analysis.results import Results
from compact_bench.analysis.statistics import MOST_SEED_DF, NAN, Difference

WANTED = 0.04  # the difference in share right that a suite should see
MOST_SEEDS, MOST_ITEMS = 60, 20_000  # beyond them no advice is given
USUAL_ITEMS = 1000  # for advice where neither more items nor more seeds alone would do


@dataclass(frozen=True)
class Components:
    """Standard deviations of a difference between two rows' answers (0 or 1).

    seed: of its mean over all items, by seed; item: by item; error: of an item under one seed.
    """

    seed: float
    item: float
    error: float


# Trained rows against their reference row in the published suites of three seeds or more, all on
# mini: 163 comparisons on reasoning tasks, 417 on old ones, estimated again by
# `python docs/simulate_tests.py --components results/published`.  On reasoning tasks the seeds'
# component comes out at 0; a plan had better reckon with some.
COMPONENTS = {
    "reasoning": Components(seed=0.016, item=0.20, error=0.39),
    "forgetting": Components(seed=0.047, item=0.18, error=0.34),
}


@dataclass(frozen=True)
class Design:
    """What is asked of how many students: rows are those compared to one reference row."""

    role: str
    items: int
    seeds: int
    rows: int

    def expected(self) -> Difference:
        """A difference of 0 with the interval that COMPONENTS lead one to expect; of one seed none.

        Var = seed^2/S + item^2/n + error^2/(n S); degrees of freedom as `statistics.pooled` has
        them where all rows vary alike, at most n - 1.
        """
        seeds, items, sds = self.seeds, self.items, COMPONENTS[self.role]
        if seeds < 2 or items < 2:
            return Difference(0.0, seeds=seeds, items=items)
        variance = sds.seed**2 / seeds + sds.item**2 / items + sds.error**2 / (items * seeds)
        df = float(seeds - 1)
        if self.rows > 1:
            df *= MOST_SEED_DF * (self.rows - 1) / self.rows
        df = min(df, items - 1.0)
        half_width = float(special.stdtrit(df, 0.975)) * math.sqrt(variance)
        return Difference(0.0, half_width, NAN, df, seeds, items)

    def detectable(self, level: float = claims.LEVEL) -> float:
        """The true difference that is found in 80% of cases at this level; NaN without a test."""
        return self.expected().detectable_at(level)

    def sees(self, wanted: float = WANTED) -> bool:
        """Whether a true difference of `wanted` is found in 80% of cases, at 5%."""
        return self.detectable() <= wanted

    def enough(self, wanted: float = WANTED) -> tuple[int | None, int | None]:
        """The items (a multiple of 100) with these seeds, and the seeds with these items, that do.

        None where not even MOST_ITEMS or MOST_SEEDS would.
        """
        fewest = max(100, 100 * math.ceil(self.items / 100))
        items = (
            n for n in range(fewest, MOST_ITEMS + 1, 100)
            if Design(self.role, n, self.seeds, self.rows).sees(wanted)
        )  # fmt: skip
        seeds = (
            s for s in range(self.seeds, MOST_SEEDS + 1)
            if Design(self.role, self.items, s, self.rows).sees(wanted)
        )  # fmt: skip
        return next(items, None), next(seeds, None)


def advice(designs: Iterable[tuple[str, Design]], wanted: float = WANTED) -> list[str]:
    """A line for each task, by its title, on which a difference of `wanted` can't be seen."""
    lines = []
    for title, design in designs:
        if design.sees(wanted):
            continue
        items, seeds = design.enough(wanted)
        if not items and not seeds:
            more = Design(design.role, max(design.items, USUAL_ITEMS), design.seeds, design.rows)
            both = more.enough(wanted)[1]
            ways = [f"{more.items} items with {both} seeds" if both else ""]
        else:
            ways = [f"{items} items" if items else "", f"{seeds} seeds" if seeds else ""]
        would = " or ".join(filter(None, ways))
        lines.append(
            f"can't see {100 * wanted:.0f} points on {title} with {design.items} items and "
            f"{design.seeds} seed{'' if design.seeds == 1 else 's'}: "
            + f"{would or 'no design of a reasonable size'} would"
        )
    return lines


def measured(results: Results) -> list[str]:
    """A line for each primary measure: the interval and detectable difference of the median row."""
    lines = []
    level = claims.LEVEL / max(claims.family(results).size, 1)
    for measure in claims.primary(results):
        differences = [results.difference(row, measure) for row in results.rows]
        tested = [one for one in differences if one and np.isfinite(one.half_width)]
        if not tested or not measure.shown.percent:
            continue
        half_width, at_5, corrected = (
            100 * median(values)
            for values in (
                [one.half_width for one in tested],
                [one.detectable for one in tested],
                [one.detectable_at(level) for one in tested],
            )
        )
        low = "" if at_5 <= 100 * WANTED else f"; {100 * WANTED:.0f} points can't be seen"
        lines.append(
            f"{measure.task_title}: ± {half_width:.1f} points; in 80% of cases finds {at_5:.1f} "
            f"at 5%, {corrected:.1f} corrected{low}"
        )
    return lines
