"""Which differences may be claimed: corrected for their number, and rows beside the best one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from compact_bench.analysis import statistics
from compact_bench.analysis.forgetting import RETENTION, difference_between
from compact_bench.analysis.results import Results, Row, cached, difference
from compact_bench.analysis.statistics import NAN, Difference
from compact_bench.suite.metrics import Measure

LEVEL = 0.05
MARK_SEEDS = 5  # a mark needs as many: with fewer the test can't say how much seeds vary


@dataclass(frozen=True)
class Family:
    """Holm's correction over all rows x primary measures that were tested.

    adjusted: p by the row's label and the measure; claims: those that may be claimed.
    """

    adjusted: dict[tuple[str, Measure], float]
    claims: frozenset[tuple[str, Measure]]

    @property
    def size(self) -> int:
        """How many comparisons are corrected for."""
        return len(self.adjusted)

    def p(self, row: Row, measure: Measure) -> float:
        """The adjusted p of a row's difference; NaN where it has none or isn't primary."""
        return self.adjusted.get((row.label, measure), NAN)

    def survives(self, row: Row, measure: Measure) -> bool:
        """Whether the difference may be claimed."""
        return (row.label, measure) in self.claims


def claimed(adjusted: float, tested: Difference) -> bool:
    """Whether a difference with this adjusted p may be claimed, and so marked."""
    return adjusted < LEVEL and tested.seeds >= MARK_SEEDS


def primary(results: Results) -> list[Measure]:
    """The measures that claims are made of: the headline of each reasoning and forgetting task.

    All else (answer NLL, tokens, the other extraction) explains, and is never marked.
    """
    return [*results.headlines("reasoning"), *results.headlines("forgetting")]


@cached
def family(results: Results) -> Family:
    """The differences of all rows to their reference row, corrected together."""
    tested = {
        (row.label, measure): found
        for measure in primary(results)
        for row in results.rows
        if (found := results.difference(row, measure)) and np.isfinite(found.p)
    }
    adjusted = statistics.holm([one.p for one in tested.values()]).tolist()
    pairs = zip(tested.items(), adjusted, strict=True)
    claims = frozenset(key for (key, one), p in pairs if claimed(p, one))
    return Family(dict(zip(tested, adjusted, strict=True)), claims)


def not_worse(results: Results, measure: Measure) -> set[str]:
    """Labels of the best trained row of each condition and of those not clearly worse than it.

    Rows with all their seeds take part; not clearly worse: the 95% interval of the paired crossed
    difference to the best includes 0.  It isn't corrected: correcting would add rows.  Nobody
    where there is nothing to test with, as with one seed or values that aren't means over items,
    and for the answer's marginal NLL: a row that answers at once has it without a rationale, one
    that reasons over those that it samples, so that the best of all rows means nothing.
    """
    if measure.metric == "marginal_nll":
        return set()
    better = measure.shown.better
    means = {row.label: better * row.summary(measure).mean for row in results.rows}
    return _not_worse(
        results, means, lambda row, best: difference(row, best, measure, results.rows)
    )


def retention_not_worse(results: Results) -> set[str]:
    """The same for the mean retention of the old skill."""
    means = {row.label: results.retention_summary(row).mean for row in results.rows}
    return _not_worse(
        results, means, lambda row, best: difference_between(results, row, best, RETENTION)
    )


def _not_worse(
    results: Results,
    means: dict[str, float],
    compare: Callable[[Row, Row], Difference | None],
) -> set[str]:
    labels: set[str] = set()
    trained = [row for row in results.rows if row.trained and np.isfinite(means[row.label])]
    for condition in dict.fromkeys(row.condition for row in trained):
        rows = [row for row in trained if row.condition == condition]
        rows = [row for row in rows if row.complete] or rows
        if not any(means[row.label] for row in rows):
            continue  # neither direction is better, or nobody scores
        best = max(rows, key=lambda row: means[row.label])
        compared = {row.label: compare(row, best) for row in rows if row is not best}
        tested = {label: d for label, d in compared.items() if d and np.isfinite(d.p)}
        if tested:
            labels |= {best.label} | {label for label, d in tested.items() if not d.clear}
    return labels


def tiers(results: Results, measure: Measure, condition: str = "") -> list[list[Row]]:
    """Trained rows of a condition by what can't be told apart, the best first.

    A tier is the best of the rows that are left, and those not clearly worse than it: the 95%
    interval of the paired difference, not corrected, includes 0, or there is none. A row may so
    stand below one of the tier before that it can't be told from; never below that tier's best.
    """
    made: list[list[Row]] = []
    better = measure.shown.better
    means = {row.label: better * row.summary(measure).mean for row in results.rows}
    rows = [r for r in results.rows if r.trained and r.condition == condition]
    rest = sorted(
        (row for row in rows if np.isfinite(means[row.label])), key=lambda row: -means[row.label]
    )
    while rest:
        found = {row: difference(row, rest[0], measure, results.rows) for row in rest[1:]}
        worse = [row for row, one in found.items() if one and np.isfinite(one.p) and one.clear]
        made.append([row for row in rest if row not in worse])
        rest = worse
    return made


def detectable(differences: Iterable[Difference | None]) -> list[float]:
    """The minimum detectable differences of those that were tested."""
    return [d.detectable for d in differences if d and np.isfinite(d.detectable)]
