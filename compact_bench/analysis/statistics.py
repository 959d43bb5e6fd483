"""The statistics of the tables, as functions of arrays: no files, no records, no random state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, reduce

import numpy as np
import pandas as pd
from scipy import special

NAN = float("nan")
LEAST_SKILL = 0.02  # above chance, for a share of it to be more than noise
RESAMPLES = 1000  # of a bootstrap


@dataclass(frozen=True)
class Summary:
    """Mean, standard deviation (unbiased; NaN for one value) and number of values."""

    mean: float
    sd: float
    n: int


def summarise(values: Sequence[float | None]) -> Summary:
    """Mean and sd over seeds; missing values don't count.

    >>> summarise([1.0, 3.0])
    Summary(mean=2.0, sd=1.4142135623730951, n=2)
    """
    known = np.asarray([value for value in values if value is not None], dtype=np.float64)
    known = known[np.isfinite(known)]
    n = len(known)
    mean = float(known.mean()) if n else NAN
    return Summary(mean, float(known.std(ddof=1)) if n > 1 else NAN, n)


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

    @property
    def detectable(self) -> float:
        """The true difference that the 5% test would find in 80% of cases; NaN without an interval.

        (t_{0.975,df} + t_{0.8,df}) SE with SE = half_width / t_{0.975,df}, in the units of the
        half-width.  It approximates the noncentral t, and takes SE for known: it says what data
        like these could have shown, and nothing about whether there is a difference.
        Source: Bloom 1995, Minimum detectable effects.

        >>> round(Difference(0.0, half_width=1.96, df=1e9).detectable, 2)
        2.8
        """
        if not (math.isfinite(self.half_width) and self.df > 0):
            return NAN
        power, quantile = (float(special.stdtrit(self.df, share)) for share in (0.8, 0.975))
        return self.half_width * (1 + power / quantile)


def _test(mean: float, variance: float, df: float, level: float) -> tuple[float, float]:
    """Half-width and two-sided p of a t test; without any spread the difference is exact."""
    if variance <= 0:
        return 0.0, 1.0 if mean == 0 else 0.0
    error = math.sqrt(variance)
    # scipy.stats.t gives the same, a hundred times slower: tables ask thousands of times.
    half_width = float(special.stdtrit(df, 0.5 + level / 2)) * error
    return half_width, float(2 * special.stdtr(df, -abs(mean) / error))


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """p values adjusted for their number, so that the chance of any false claim stays below 5%.

    In rising order p_(1) <= ... <= p_(m): adjusted p_(k) = max_{j<=k} min(1, (m - j + 1) p_(j)).
    NaN stays NaN and doesn't count.  It holds however the tests depend on each other.
    statsmodels has the same; for these lines it would be another 30 MB to install.

    p_values: (m,) float.  Source: Holm 1979.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(p_values.shape, NAN)
    known = np.flatnonzero(~np.isnan(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    steps = (len(order) - np.arange(len(order))) * p_values[order]
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


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

    Var = (MS_e + max(MS_s - MS_e, 0) + max(MS_i - MS_e, 0)) / (n S): a component of variance that
    comes out negative is 0, or else chance makes the interval narrower than seeds or items alone
    allow.  Where both are above 0 that is (MS_s + MS_i - MS_e) / (n S), with Satterthwaite degrees
    of freedom (MS_s + MS_i - MS_e)^2 / (MS_s^2/(S-1) + MS_i^2/(n-1) + MS_e^2/((S-1)(n-1))), at
    least 1; else one mean square is left, with its own degrees of freedom.
    How often it calls nothing but noise significant: docs/statistics.md.

    values: (S,n), float, one row a seed. S or n below 2: no test.
    Source: Satterthwaite 1946; Searle, Casella and McCulloch 1992, section 3.5, on negative ones.
    """
    values = np.asarray(values, dtype=np.float64)
    seeds, items = values.shape
    mean = float(values.mean()) if values.size else NAN
    if seeds < 2 or items < 2:
        return Difference(mean, seeds=seeds, items=items)
    total, df = _variance(*mean_squares(values), seeds, items)
    half_width, p = _test(mean, total / values.size, df, level)
    return Difference(mean, half_width, p, df, seeds, items, "crossed")


def _variance(
    ms_seeds: float, ms_items: float, ms_error: float, seeds: int, items: int
) -> tuple[float, float]:
    """Variance of the mean times the number of values, and its degrees of freedom."""
    df_seeds, df_items = float(seeds - 1), float(items - 1)
    if ms_seeds <= ms_error and ms_items <= ms_error:
        return ms_error, df_seeds * df_items
    if ms_items <= ms_error:
        return ms_seeds, df_seeds
    if ms_seeds <= ms_error:
        return ms_items, df_items
    total = ms_seeds + ms_items - ms_error
    parts = ms_seeds**2 / df_seeds, ms_items**2 / df_items, ms_error**2 / (df_seeds * df_items)
    return total, max(total**2 / sum(parts), 1.0)


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
    items, seeds = tables[0].columns, tables[0].index
    if all(t.columns.equals(items) and t.index.equals(seeds) for t in tables[1:]):
        values = np.stack([table.to_numpy(np.float64) for table in tables])  # nothing to align
        return values[:, :, ~np.isnan(values).any(axis=(0, 1))]
    single = [len(table.index) == 1 and bool(pd.isna(table.index[0])) for table in tables]
    seeded = [table for table, alone in zip(tables, single, strict=True) if not alone]
    seeded = seeded or [tables[0]]
    seeds = reduce(lambda left, right: left.intersection(right, False), (t.index for t in seeded))
    items = reduce(lambda left, right: left.intersection(right, False), (t.columns for t in tables))
    common = [
        (table[items] if alone else table.loc[seeds, items]).to_numpy(np.float64)
        for table, alone in zip(tables, single, strict=True)
    ]
    values = np.stack([np.broadcast_to(part, (len(seeds), len(items))) for part in common])
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
    return replace(crossed((top - value * bottom) / bottom.mean(), level), mean=value)


def skill(before: float, chance: float) -> float:
    """before - chance; NaN below LEAST_SKILL, as a share of so little would be noise."""
    return before - chance if before - chance >= LEAST_SKILL else NAN


def retention(after: float, before: float, chance: float) -> float:
    """Share of the old skill that is left: (after - chance) / (before - chance); NaN without skill.

    >>> retention(0.6, 0.8, 0.2)
    0.6666666666666665
    """
    return (after - chance) / skill(before, chance)


@lru_cache(maxsize=16)
def resample_counts(size: int, *seed: int) -> np.ndarray:
    """How often each of `size` things is drawn in each resample; (RESAMPLES,size) float64."""
    draw = np.random.default_rng(seed)
    return draw.multinomial(size, np.full(size, 1 / size), size=RESAMPLES).astype(np.float64)
