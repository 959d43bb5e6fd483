"""Which differences may be claimed: corrected for how many were asked, and rows beside the best."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from compact_bench.analysis import statistics
from compact_bench.analysis.results import Results, Row, difference
from compact_bench.analysis.statistics import NAN, Difference
from compact_bench.suite.metrics import Measure

LEVEL = 0.05


@dataclass(frozen=True)
class Family:
    """Holm's correction over all rows x primary measures that were tested."""

    adjusted: dict[tuple[str, Measure], float]

    @property
    def size(self) -> int:
        """How many comparisons are corrected for."""
        return len(self.adjusted)

    def p(self, row: Row, measure: Measure) -> float:
        """The adjusted p of a row's difference; NaN where it has none or isn't primary."""
        return self.adjusted.get((row.label, measure), NAN)

    def survives(self, row: Row, measure: Measure) -> bool:
        """Whether the difference may be claimed."""
        return self.p(row, measure) < LEVEL


def primary(results: Results) -> list[Measure]:
    """The measures that claims are made of: the headline of each reasoning and forgetting task.

    All else (answer NLL, tokens, the other extraction) explains, and is never marked.
    """
    return [*results.headlines("reasoning"), *results.headlines("forgetting")]


def family(results: Results) -> Family:
    """The differences of all rows to their reference row, corrected together; computed once."""
    if "family" not in results.computed:
        found = {
            (row.label, measure): one.p
            for measure in primary(results)
            for row in results.rows
            if (one := results.difference(row, measure)) and np.isfinite(one.p)
        }
        adjusted = statistics.holm(list(found.values())).tolist()
        results.computed["family"] = Family(dict(zip(found, adjusted, strict=True)))
    return results.computed["family"]


def not_worse(results: Results, measure: Measure) -> set[str]:
    """Labels of the best trained row of each condition and of those not clearly worse than it.

    Rows with all their seeds take part; not clearly worse: the 95% interval of the paired crossed
    difference to the best includes 0.  It isn't corrected: correcting would add rows.  Nobody
    where there is nothing to test with, as with one seed or values that aren't means over items.
    """
    better = measure.shown.better
    means = {row.label: better * row.summary(measure).mean for row in results.rows}
    return _not_worse(results, means, lambda row, best: difference(row, best, measure))


def kept_not_worse(results: Results) -> set[str]:
    """The same for the share of the old skill that is kept."""
    means = {row.label: kept(results, row).mean for row in results.rows}
    return _not_worse(results, means, lambda row, best: kept_difference(results, row, best))


def kept(results: Results, row: Row) -> statistics.Summary:
    """Mean and sd over seeds of the old skill that a row kept."""
    return statistics.summarise(list(results.kept_mean(row).values()))


def _not_worse(
    results: Results,
    means: dict[str, float],
    compare: Callable[[Row, Row], Difference | None],
) -> set[str]:
    chosen: set[str] = set()
    known = [row for row in results.rows if row.trained and np.isfinite(means[row.label])]
    for condition in dict.fromkeys(row.condition for row in known):
        rows = [row for row in known if row.condition == condition]
        rows = [row for row in rows if row.complete] or rows
        if not any(means[row.label] for row in rows):
            continue  # neither direction is better, or nobody scores
        best = max(rows, key=lambda row: means[row.label])
        found = {row.label: compare(row, best) for row in rows if row is not best}
        tested = {label: one for label, one in found.items() if one and np.isfinite(one.p)}
        if tested:
            chosen |= {best.label} | {label for label, one in tested.items() if not one.clear}
    return chosen


def kept_difference(results: Results, row: Row, other: Row) -> Difference | None:
    """Difference in the mean share of the old skill kept, by the crossed test over all old items.

    An item of task k counts N / (K n_k skill_k), N items in all and K tasks, so that the mean over
    items is the mean over tasks of after / skill; what the student knew before is taken for known.
    None where items or seeds are not the same in all tasks.
    """
    parts = []
    for measure in results.headlines("forgetting"):
        before, chance = results.before.get(measure, NAN), results.chance.get(measure, 0.0)
        if np.isnan(statistics.retention(before, before, chance)):
            continue  # no skill to keep: the mean of the tasks leaves it out, too
        skill = before - chance
        tables = [one.items.get((measure.task, measure.shown.item_column)) for one in (row, other)]
        if any(table is None for table in tables):
            return None
        parts.append((statistics.paired(*tables), skill))  # type: ignore[arg-type]
    if not parts or len({len(values) for values, _ in parts}) > 1:
        return None
    total = sum(values.shape[1] for values, _ in parts)
    scaled = [v * total / (len(parts) * v.shape[1] * skill) for v, skill in parts]
    return statistics.crossed(np.concatenate(scaled, axis=1))


def detectable(found: Iterable[Difference | None]) -> list[float]:
    """The minimum detectable differences of those that were tested."""
    return [one.detectable for one in found if one and np.isfinite(one.detectable)]
