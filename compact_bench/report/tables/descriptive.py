"""Results -> the table of descriptive statistics: what others report, and why it proves nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd

from compact_bench.analysis import claims, descriptive, statistics
from compact_bench.analysis.results import Results, Row, item_differences
from compact_bench.analysis.statistics import NAN
from compact_bench.report.parts import captions, formats
from compact_bench.report.parts.formats import Table
from compact_bench.report.parts.numbers import interval, p_value, share
from compact_bench.suite.metrics import Measure

ROLES = {"reasoning": "reasoning", "forgetting": "old tasks"}

WHY = (
    "Descriptive: none of these is the test, and nothing is claimed from them. The bootstrap over "
    "items and McNemar's test take the seeds that were run for all there are, and call far more "
    "than 5% of null differences significant when seeds vary (by simulation, docs/statistics.md); "
    "the bootstrap over seeds and items calls too few with few seeds, or too many where they "
    "matter much"
)


def described(row: Row, other: Row, measure: Measure) -> dict[str, float]:
    """Bootstrap intervals and McNemar's p of row - other; {} without values by item."""
    values = item_differences(row, other, measure)
    if values is None:
        return {}
    items, both = descriptive.bootstrap(values)
    binary = measure.shown.item_column == "right"
    names = ("items_low", "items_high", "both_low", "both_high", "mcnemar_p")
    mcnemar = float(descriptive.mcnemar((values > 0).sum(), (values < 0).sum())) if binary else NAN
    numbers = (*items, *both, mcnemar)
    return dict(zip(names, numbers, strict=True))


def aggregates(results: Results, row: Row, other: Row | None, role: str) -> tuple[float, float]:
    """Interquartile mean of a row, and its probability of improvement over another."""

    def scores(of: Row) -> list[list[float]]:
        """Every seed's score on every percent headline of the role, by task; (K tasks, N runs)."""
        values = (of.values.get(m, {}) for m in results.headlines(role) if m.shown.percent)
        return [[value for value in by_seed.values() if np.isfinite(value)] for by_seed in values]

    mine = scores(row)
    middle = descriptive.interquartile_mean([value for task in mine for value in task])
    if other is None:
        return middle, NAN
    return middle, descriptive.probability_of_improvement(mine, scores(other))


def table(results: Results) -> Table | None:
    """Bootstrap, McNemar, interquartile mean, probability of improvement; None without values."""
    measures = [m for m in claims.primary(results) if m.shown.item_column]
    pairs = [(row, results.compared_to(row)) for row in results.rows]
    found = {
        measure: [described(row, other, measure) if other else {} for row, other in pairs]
        for measure in measures
    }
    if not any(one for ones in found.values() for one in ones):
        return None
    columns = {"method": [row.label for row in results.rows]}
    roles = {role: name for role, name in ROLES.items() if results.headlines(role)}
    summary = {role: [aggregates(results, row, o, role) for row, o in pairs] for role in roles}
    for role, name in roles.items():
        columns[f"{name}: IQM, %"] = [share(middle) for middle, _ in summary[role]]
        columns[f"{name}: P(better), %"] = [share(better) for _, better in summary[role]]
    for measure, ones in found.items():
        task = measure.task_title
        for name, title in (("items", "items"), ("both", "seeds and items")):
            texts = [bootstrap_interval(one, name, measure) for one in ones]
            columns[f"{task}: bootstrap, {title}"] = texts
        columns[f"{task}: McNemar p"] = [p_value(one.get("mcnemar_p", NAN)) for one in ones]
    numbers = [
        results.key(row)
        | {"task": measure.task, "metric": measure.metric, "role": measure.role}
        | ones[place]
        | dict(zip(("iqm_of_role", "better_of_role"), summary[measure.role][place], strict=True))
        for place, row in enumerate(results.rows)
        for measure, ones in found.items()
    ]
    text = captions.caption(
        results,
        WHY,
        f"All beside {captions.reference_of_rows(results)}. "
        "Bootstrap: 95% percentile interval of the paired difference, "
        f"{statistics.RESAMPLES} resamples. McNemar: exact test of the answers that only one of "
        "both has right, pooled over seeds. IQM: mean of the middle half of all runs' accuracies "
        "(seeds x tasks). P(better): chance that a run is better than one of the reference row, "
        "mean over tasks, 50 where they are alike",
    )
    title = "Descriptive statistics"
    return formats.table("descriptive", title, text, columns, pd.DataFrame(numbers))


def bootstrap_interval(found: dict[str, float], name: str, measure: Measure) -> str:
    """Print the interval of `described` over resampled "items", or "both" seeds and items."""
    return interval(found.get(f"{name}_low", NAN), found.get(f"{name}_high", NAN), measure)
