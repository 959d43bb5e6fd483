"""Statistics that describe and prove nothing: each takes seeds, items or tasks as fixed.

By simulation (docs/statistics.md) they call far more than 5% of null differences
significant as soon as seeds vary; the test is `statistics.crossed`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import special

from compact_bench.analysis.statistics import NAN, resample_counts

Interval = tuple[float, float]  # low and high; NaN where there is nothing to resample

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
