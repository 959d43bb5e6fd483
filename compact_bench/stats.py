"""The statistics of the tables, as functions of arrays: no files, no records, no random state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats as distributions

NAN = float("nan")
LEAST_SKILL = 0.02  # above chance, for a share of it to be more than noise


@dataclass(frozen=True)
class Summary:
    """Mean, standard deviation (unbiased; NaN for one value) and number of values."""

    mean: float
    sd: float
    n: int


def summarise(values: Sequence[float]) -> Summary:
    """Mean and sd over seeds; missing values don't count.

    >>> summarise([1.0, 3.0])
    Summary(mean=2.0, sd=1.4142135623730951, n=2)
    """
    kept = np.asarray([value for value in values if value is not None], dtype=np.float64)
    kept = kept[np.isfinite(kept)]
    if not len(kept):
        return Summary(NAN, NAN, 0)
    return Summary(float(kept.mean()), float(kept.std(ddof=1)) if len(kept) > 1 else NAN, len(kept))


@dataclass(frozen=True)
class Difference:
    """A mean paired difference; `half_width` (95%) and `p` are NaN where there is no test."""

    mean: float
    half_width: float = NAN
    p: float = NAN
    df: float = NAN
    seeds: int = 0
    items: int = 0
    test: str = "none"  # "crossed" (seeds x items), "items" (one seed), "none"

    @property
    def clear(self) -> bool:
        """Whether the interval excludes 0; without an interval nothing is clear."""
        return abs(self.mean) > self.half_width


def _test(mean: float, variance: float, df: float, level: float) -> tuple[float, float]:
    """Half-width and two-sided p of a t test; without any spread the difference is exact."""
    if variance <= 0:
        return 0.0, 1.0 if mean == 0 else 0.0
    error = math.sqrt(variance)
    half_width = float(distributions.t.ppf(0.5 + level / 2, df)) * error
    return half_width, float(2 * distributions.t.sf(abs(mean) / error, df))


def mean_squares(values: np.ndarray) -> tuple[float, float, float]:
    """Mean squares of seeds, items and their residual in a two-way layout without replication.

    MS_s = n sum_s (d_s. - d..)^2 / (S-1), MS_i = S sum_i (d_.i - d..)^2 / (n-1),
    MS_e = sum_si (d_si - d_s. - d_.i + d..)^2 / ((S-1)(n-1)).  values: (S,n), S and n >= 2.
    """
    seeds, items = values.shape
    grand = values.mean()
    by_seed = values.mean(axis=1) - grand  # (S,)
    by_item = values.mean(axis=0) - grand  # (n,)
    residual = values - grand - by_seed[:, None] - by_item[None, :]
    return (
        float(items * (by_seed**2).sum() / (seeds - 1)),
        float(seeds * (by_item**2).sum() / (items - 1)),
        float((residual**2).sum() / ((seeds - 1) * (items - 1))),
    )


def crossed(values: np.ndarray, level: float = 0.95) -> Difference:
    """Test whether the mean of paired differences is 0, seeds and items both random.

    Var = (MS_s + MS_i - MS_e) / (n S), with Satterthwaite degrees of freedom
    (MS_s + MS_i - MS_e)^2 / (MS_s^2/(S-1) + MS_i^2/(n-1) + MS_e^2/((S-1)(n-1))), at least 1: below
    that the half-width is of no use and the test calls no more differences significant.
    Where the variance isn't positive, which chance can bring about, MS_e / (n S) stands in.

    values: (S,n), float, one row a seed. S or n below 2: no test.  Source: Satterthwaite 1946.
    """
    values = np.asarray(values, dtype=np.float64)
    seeds, items = values.shape
    mean = float(values.mean()) if values.size else NAN
    if seeds < 2 or items < 2:
        return Difference(mean, seeds=seeds, items=items)
    ms_seeds, ms_items, ms_error = mean_squares(values)
    total, df_error = ms_seeds + ms_items - ms_error, (seeds - 1) * (items - 1)
    if total > 0:
        spread = ms_seeds**2 / (seeds - 1) + ms_items**2 / (items - 1) + ms_error**2 / df_error
        df = max(total**2 / spread, 1.0)
    else:
        total, df = ms_error, float(df_error)
    half_width, p = _test(mean, total / values.size, df, level)
    return Difference(mean, half_width, p, df, seeds, items, "crossed")


def over_items(values: np.ndarray, level: float = 0.95) -> Difference:
    """Paired t test over the items of one seed; it says nothing about another seed.

    values: (n,), float. n below 2: no test.
    """
    values = np.asarray(values, dtype=np.float64)
    mean = float(values.mean()) if values.size else NAN
    if len(values) < 2:
        return Difference(mean, seeds=1, items=len(values))
    df = len(values) - 1
    half_width, p = _test(mean, float(values.var(ddof=1)) / len(values), df, level)
    return Difference(mean, half_width, p, float(df), 1, len(values), "items")


def aligned(tables: Sequence[pd.DataFrame]) -> np.ndarray:
    """The values of (seed x item) tables on the seeds and items that all have.

    A table of a single run without seed (index [None] or NaN), such as an untrained student's,
    stands for every seed of the others.  Returns (tables,S,n) float64 without NaN.
    """
    items = tables[0].columns
    for table in tables[1:]:
        items = items.intersection(table.columns, sort=False)
    seeded = [table for table in tables if not _has_no_seed(table)]
    seeds = (seeded or tables)[0].index
    for table in seeded[1:]:
        seeds = seeds.intersection(table.index, sort=False)
    shape = len(seeds), len(items)
    values = np.stack(
        [
            np.broadcast_to(
                (table[items] if _has_no_seed(table) else table.loc[seeds, items]).to_numpy(
                    np.float64
                ),
                shape,
            )
            for table in tables
        ]
    )
    return values[:, :, ~np.isnan(values).any(axis=(0, 1))]


def paired(first: pd.DataFrame, second: pd.DataFrame) -> np.ndarray:
    """Subtract two (seed x item) tables as `aligned` puts them. Returns (S,n) float64."""
    left, right = aligned([first, second])
    return np.asarray(left - right)


def ratio(top: np.ndarray, bottom: np.ndarray, level: float = 0.95) -> Difference | None:
    """mean(top) / mean(bottom) with its interval by the delta method, seeds and items crossed.

    The half-width is that of the crossed test of (top - R bottom) / mean(bottom), R the ratio.
    None where the crossed interval of mean(bottom) includes 0 or there is none: the ratio of
    something to what may be nothing says nothing.

    top, bottom: (S,n) float, one row a seed, paired.
    """
    if not crossed(bottom, level).clear:
        return None
    value = float(top.mean() / bottom.mean())
    found = crossed((top - value * bottom) / bottom.mean(), level)
    return replace(found, mean=value)


def _has_no_seed(frame: pd.DataFrame) -> bool:
    return len(frame.index) == 1 and bool(pd.isna(frame.index[0]))


def retention(after: float, before: float, chance: float) -> float:
    """Share of the old skill that is left: (after - chance) / (before - chance).

    NaN where the student had less than LEAST_SKILL above chance before: the ratio would be noise.

    >>> retention(0.6, 0.8, 0.2)
    0.6666666666666665
    """
    skill = before - chance
    return (after - chance) / skill if skill >= LEAST_SKILL else NAN
