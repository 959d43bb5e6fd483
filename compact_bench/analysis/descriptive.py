"""Statistics that describe and prove nothing: each takes seeds, items or tasks as fixed.

By simulation (docs/statistics.md) they call far more than 5% of null differences
significant as soon as seeds vary; the test is `statistics.crossed`. And which rows write the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from compact_bench.analysis.results import Results, Row, cached
from compact_bench.analysis.statistics import NAN, resample_counts

Interval = tuple[float, float]  # low and high; NaN where there is nothing to resample

EQUAL_SHARE = 0.95  # of the outputs: rows above it are twins
CODES = "output_code"

NONE: Interval = (NAN, NAN)


def resampled_items(values: np.ndarray) -> np.ndarray:
    """Every seed's mean over items drawn with replacement; (...,S,n) -> (...,S,RESAMPLES).

    Sums of right (1) minus wrong (0) answers are whole numbers, and so the same on every machine.
    """
    items = values.shape[-1]
    return np.asarray(values @ resample_counts(items, 0, items).T) / items


def resampled_seeds(by_item: np.ndarray) -> np.ndarray:
    """Means over seeds drawn with replacement, of `resampled_items`; (...,S,B) -> (...,B)."""
    seeds = by_item.shape[-2]
    return np.asarray((by_item * resample_counts(seeds, 1, seeds).T).sum(axis=-2)) / seeds


def bootstrap(values: np.ndarray, level: float = 0.95) -> tuple[Interval, Interval]:
    """Percentile intervals of the mean paired difference: over items, and over seeds and items.

    Items and seeds are drawn apart, as Owen 2007 does for crossed factors; always the same draws.

    values: (S,n) float, one row a seed.  n below 2: no interval; S below 2: none over seeds.
    Source: Efron 1979.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.shape[1] < 2 or not len(values):
        return NONE, NONE
    by_item = resampled_items(values)
    over_items = _percentiles(by_item.mean(axis=-2), level)
    return over_items, _percentiles(resampled_seeds(by_item), level) if len(values) > 1 else NONE


def _percentiles(means: np.ndarray, level: float) -> Interval:
    low, high = np.quantile(means, [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)


def mcnemar(gained: np.ndarray | int, lost: np.ndarray | int) -> np.ndarray:
    """Exact p of McNemar's test: of the pairs with one right answer, are both sides alike?

    min(1, 2 P(X <= min(gained, lost))), X binomial(gained + lost, 1/2).  Pairs of all seeds are
    pooled as if they were different items, which they are not.  1.0 without such a pair.

    gained, lost: counts, of one shape; returns float64 of it.  Source: McNemar 1947.
    """
    fewer = np.minimum(gained, lost)
    return np.asarray(np.minimum(1.0, 2 * special.bdtr(fewer, np.add(gained, lost), 0.5)))


def interquartile_mean(scores: Sequence[float] | np.ndarray) -> float:
    """Mean of the middle half of all runs' scores; NaN without scores.

    A quarter of the scores, rounded down, is dropped at either end.

    scores: seeds x tasks, any shape.  Source: Agarwal et al. 2021, section 4.3.
    """
    known = np.asarray(scores, dtype=np.float64).ravel()
    known = known[np.isfinite(known)]
    cut = len(known) // 4
    # scipy's trim_mean doesn't sort, and so adds up in another order: other last digits.
    return float(np.sort(known)[cut : len(known) - cut].mean()) if len(known) else NAN


def probability_of_improvement(
    first: Sequence[Sequence[float]], second: Sequence[Sequence[float]]
) -> float:
    """Chance that a run of the first scores above a run of the second on a task, mean over tasks.

    1/K sum_k 1/(N_k M_k) sum_ij (1[x_ki > y_kj] + 1/2 1[x_ki = y_kj]); a task that either lacks
    doesn't count, and without any it is NaN.  0.5: no telling which is better.

    first, second: for each of the same K tasks the scores of the runs, more being better.
    Source: Agarwal et al. 2021, section 4.3.
    """
    chances = []
    for mine, other in zip(first, second, strict=True):
        x, y = np.asarray(mine, dtype=np.float64)[:, None], np.asarray(other, dtype=np.float64)
        if x.size and y.size:
            chances.append(float(((x > y) + 0.5 * (x == y)).mean()))
    return float(np.mean(chances)) if chances else NAN


@dataclass(frozen=True)
class Twins:
    """Two rows of one condition: the share of equal outputs, and of how many."""

    first: Row
    second: Row
    share: float
    outputs: int


@cached
def twins(results: Results) -> list[Twins]:
    """The pairs of rows with more than `EQUAL_SHARE` equal outputs, in the suite's order.

    Compared are outputs of the same seed, task and item; a row that has no seed stands for each.
    Rows without output texts, as of choice tasks alone, are nobody's twins.
    """
    conditions = dict.fromkeys(row.condition for row in results.rows)
    return [
        pair
        for condition in conditions
        for pair in _pairs([row for row in results.rows if row.condition == condition])
    ]


def _pairs(rows: Sequence[Row]) -> Iterator[Twins]:
    tables = {row.label: _outputs(row) for row in rows}
    rows = [row for row in rows if tables[row.label].size]
    if not rows:
        return
    numbers = sorted({seed for row in rows for seed in row.done if seed is not None})
    seeds: list[int | None] = [*numbers] or [None]
    items = pd.MultiIndex.from_tuples(
        sorted({item for row in rows for item in tables[row.label].columns})
    )
    codes = np.stack([_grid(tables[row.label], seeds, items) for row in rows])  # (rows, outputs)
    known = ~np.isnan(codes)
    for i in range(len(rows)):
        equal = (codes[i + 1 :] == codes[i]).sum(axis=1)
        count = (known[i + 1 :] & known[i]).sum(axis=1)
        for j in np.flatnonzero((equal > EQUAL_SHARE * count) & (count > 0)):
            share = float(equal[j] / count[j])
            yield Twins(rows[i], rows[i + 1 + j], share, int(count[j]))


def _outputs(row: Row) -> pd.DataFrame:
    """Codes of the outputs by seed, and (task, item)."""
    tables = {task: table for (task, column), table in row.items.items() if column == CODES}
    return pd.concat(tables, axis=1) if tables else pd.DataFrame()


def _grid(table: pd.DataFrame, seeds: Sequence[int | None], items: pd.MultiIndex) -> np.ndarray:
    """(seeds x items,) float64, NaN where there is none."""
    values = table.reindex(columns=items)
    alone = list(table.index) == [None]
    rows = values.loc[[None] * len(seeds)] if alone else values.reindex(seeds)
    return rows.to_numpy(np.float64).ravel()
