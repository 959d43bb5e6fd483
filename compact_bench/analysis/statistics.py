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
MOST_SEED_DF = 4  # times S - 1: what A + M of `pooled` has where all rows vary alike


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
        """The true difference that the 5% test would find in 80% of cases; see `detectable_at`.

        >>> round(Difference(0.0, half_width=1.96, df=1e9).detectable, 2)
        2.8
        """
        return self.detectable_at(0.05)

    def detectable_at(self, level: float) -> float:
        """The true difference that a test at this level would find in 80% of cases.

        (t_{1-level/2,df} + t_{0.8,df}) SE with SE = half_width / t_{0.975,df}, in the units of the
        half-width; NaN without an interval.  It approximates the noncentral t, and takes SE for
        known: it says what data like these could have shown, and nothing about whether there is a
        difference.  Source: Bloom 1995, Minimum detectable effects.
        """
        if not (math.isfinite(self.half_width) and self.df > 0):
            return NAN
        shares = (1 - level / 2, 0.8, 0.975)
        critical, power, quantile = (float(special.stdtrit(self.df, share)) for share in shares)
        return self.half_width * (critical + power) / quantile


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


def crossed(values: np.ndarray, level: float = 0.95, peers: np.ndarray | None = None) -> Difference:
    """Test whether the mean of paired differences is 0, seeds and items both random.

    Var = (MS_e + max(MS_s - MS_e, 0) + max(MS_i - MS_e, 0)) / (n S): a component of variance that
    comes out negative is 0, or else chance makes the interval narrower than seeds or items alone
    allow.  MS_s and the degrees of freedom are those of `pooled`; without peers, MS_s is the row's
    own with S - 1 degrees of freedom.  Items never add any: where MS_s is small by luck they would
    be used for a variance that they say nothing about.
    How often it calls nothing but noise significant: docs/statistics.md.

    values: (S,n), float, one row a seed. S or n below 2: no test.
    peers: (R,S), the mean difference by seed of each row that is compared to the same row.
    Source: Searle, Casella and McCulloch 1992, section 3.5, on negative components.
    """
    values = np.asarray(values, dtype=np.float64)
    seeds, items = values.shape
    mean = float(values.mean()) if values.size else NAN
    if seeds < 2 or items < 2:
        return Difference(mean, seeds=seeds, items=items)
    ms_seeds, ms_items, ms_error = mean_squares(values)
    df = float(seeds - 1)
    if peers is not None and len(peers) > 1:
        by_seed, df = pooled(values.mean(axis=1), np.asarray(peers, dtype=np.float64))
        ms_seeds = items * by_seed
    total = ms_error + max(ms_seeds - ms_error, 0.0) + max(ms_items - ms_error, 0.0)
    df = min(df, float(items - 1))
    half_width, p = _test(mean, total / values.size, df, level)
    return Difference(mean, half_width, p, df, seeds, items, "crossed")


def pooled(own: np.ndarray, peers: np.ndarray) -> tuple[float, float]:
    """Variance over seeds of a row's mean difference, and its degrees of freedom.

    Every difference of the peers shares the reference row, so a seed's differences d_rs are split
    in their mean over rows and the rest.  A = Var_s(mean_r d_rs), with S - 1 degrees of freedom,
    holds what seeds do to the reference; V_r = Var_s(d_rs - mean_r d_rs) what they do to row r.
    V_r is moderated towards that of the other rows, as limma does for genes (see `prior`):
    M = (d_0 s_0^2 + (S-1) V_r) / (d_0 + S-1), with f = min(d_0 + S-1, (R-1)(S-1)).
    Returns A + M and (A + M)^2 / (A^2/(S-1) + M^2/f), Satterthwaite's, at most MOST_SEED_DF (S-1):
    A that is small by luck must not leave all to M.

    own: (S,), the row's own; peers: (R,S), R >= 2 and S >= 2, the row's own among them or not.
    Source: Smyth 2004, Linear models and empirical Bayes methods; Satterthwaite 1946.
    """
    df = float(own.size - 1)
    common = peers.mean(axis=0)  # (S,)
    shared = float(common.var(ddof=1))
    rest = float((own - common).var(ddof=1))
    prior_df, prior_variance = prior((peers - common).var(axis=1, ddof=1), df)
    weight = 1.0 if math.isinf(prior_df) else prior_df / (prior_df + df)
    rest = weight * prior_variance + (1 - weight) * rest
    rest_df = min(prior_df + df, (len(peers) - 1) * df)
    most = MOST_SEED_DF * df
    if not shared + rest:
        return 0.0, most
    return shared + rest, min((shared + rest) ** 2 / (shared**2 / df + rest**2 / rest_df), most)


def prior(variances: np.ndarray, df: float) -> tuple[float, float]:
    """Degrees of freedom d_0 and variance s_0^2 of the prior that these variances come from.

    s^2 ~ s_0^2 F(df, d_0): with e = log s^2 - digamma(df/2) + log(df/2), trigamma(d_0/2) is
    Var(e) - trigamma(df/2) and log s_0^2 = mean(e) + digamma(d_0/2) - log(d_0/2).  Where the
    variances differ no more than by chance, d_0 is infinite and s_0^2 their mean.

    variances: (R,), float, R >= 2.  Zeros count as a 1e-5th of the median, as in limma.
    Source: Smyth 2004, section 6.2; limma's fitFDist.
    """
    least = 1e-5 * float(np.median(variances)) or 1e-5 * float(variances.max())
    if not least:
        return math.inf, 0.0
    logs = np.log(np.maximum(variances, least)) - special.digamma(df / 2) + math.log(df / 2)
    spread = float(logs.var(ddof=1) - special.polygamma(1, df / 2))
    if spread <= 0:
        return math.inf, float(variances.mean())
    half = _inverse_trigamma(spread)
    return 2 * half, float(np.exp(logs.mean() + special.digamma(half) - math.log(half)))


def _inverse_trigamma(value: float) -> float:
    """x with trigamma(x) = value > 0, by Newton's method on 1 / trigamma, which never overshoots.

    Source: Smyth 2004, appendix.
    """
    x = 0.5 + 1 / value
    for _ in range(50):
        found = special.polygamma(1, x)
        step = found * (1 - found / value) / special.polygamma(2, x)
        x += step
        if -step / x < 1e-8:
            break
    return float(x)


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


def ratio(
    top: np.ndarray, bottom: np.ndarray, level: float = 0.95, peers: Sequence[np.ndarray] = ()
) -> Difference | None:
    """mean(top) / mean(bottom) with its interval by the delta method, seeds and items crossed.

    The half-width is that of the crossed test of (top - R bottom) / mean(bottom), R the ratio.
    None where the crossed interval of mean(bottom) includes 0 or there is none: the ratio of
    something to what may be nothing says nothing.

    top, bottom: (S,n) float, one row a seed, paired; peers: the tops of the rows that are compared
    to the same bottom, which say with this one how much seeds vary.
    """
    if not crossed(bottom, level).clear:
        return None
    value = float(top.mean() / bottom.mean())

    def left(part: np.ndarray) -> np.ndarray:
        return np.asarray((part - value * bottom) / bottom.mean())

    means = np.array([left(peer).mean(axis=1) for peer in peers])  # (R,S)
    return replace(crossed(left(top), level, means), mean=value)


def skill(before: float, chance: float, items: float = NAN) -> float:
    """before - chance; NaN where a share of it would be noise.

    That is below LEAST_SKILL, and for an accuracy over so many items within two standard errors of
    chance: nothing could be seen to be forgotten there, and chance alone makes shares above 100%.

    >>> skill(0.29, 0.25, 100), round(skill(0.29, 0.25, 10_000), 2)
    (nan, 0.04)
    """
    error = math.sqrt(max(before * (1 - before), 0.0) / items) if items > 0 else 0.0
    return before - chance if before - chance >= max(LEAST_SKILL, 2 * error) else NAN


def retention(after: float, before: float, chance: float, items: float = NAN) -> float:
    """Share of the old skill that is left: (after - chance) / (before - chance); NaN without skill.

    >>> retention(0.6, 0.8, 0.2)
    0.6666666666666665
    """
    return (after - chance) / skill(before, chance, items)


@lru_cache(maxsize=16)
def resample_counts(size: int, *seed: int) -> np.ndarray:
    """How often each of `size` things is drawn in each resample; (RESAMPLES,size) float64."""
    draw = np.random.default_rng(seed)
    return draw.multinomial(size, np.full(size, 1 / size), size=RESAMPLES).astype(np.float64)
