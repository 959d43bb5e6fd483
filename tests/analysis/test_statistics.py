"""The statistics against scipy, against least squares, and by simulation under the null."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import optimize, special
from scipy import stats as reference
from statsmodels.regression.mixed_linear_model import MixedLM
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from compact_bench.analysis import statistics
from compact_bench.analysis.statistics import Difference


def residual_mean_squares(values: np.ndarray) -> tuple[float, float, float]:
    """Mean squares by nested least-squares fits with indicator columns."""
    seeds, items = values.shape
    seed, item = np.divmod(np.arange(values.size), items)
    one = np.ones((values.size, 1))
    by_seed, by_item = np.eye(seeds)[seed], np.eye(items)[item]

    def rest(*columns: np.ndarray) -> float:
        design = np.hstack([one, *columns])
        fitted = design @ np.linalg.lstsq(design, values.ravel(), rcond=None)[0]
        return float(((values.ravel() - fitted) ** 2).sum())

    both = rest(by_seed, by_item)
    return (
        (rest(by_item) - both) / (seeds - 1),
        (rest(by_seed) - both) / (items - 1),
        both / ((seeds - 1) * (items - 1)),
    )


@pytest.mark.parametrize("shape", [(2, 2), (3, 7), (5, 20)])
def test_mean_squares_match_least_squares(shape: tuple[int, int]) -> None:
    values = np.random.default_rng(1).normal(0.3, 1, shape) + np.arange(shape[0])[:, None]
    np.testing.assert_allclose(
        statistics.mean_squares(values), residual_mean_squares(values), rtol=1e-9
    )


def test_crossed_by_hand() -> None:
    # grand mean 2; seeds -1, 1; items -0.5, 0.5; residuals +-0.5
    found = statistics.crossed(np.array([[1.0, 1.0], [2.0, 4.0]]))
    assert statistics.mean_squares(np.array([[1.0, 1.0], [2.0, 4.0]])) == (4.0, 1.0, 1.0)
    assert found.mean == 2.0
    assert found.df == 1.0
    assert found.half_width == pytest.approx(reference.t.ppf(0.975, 1.0) * np.sqrt(4 / 4))


def test_without_item_effects_it_is_the_t_test_over_seeds() -> None:
    by_seed = np.array([0.1, 0.4, -0.2, 0.3])
    found = statistics.crossed(np.repeat(by_seed[:, None], 50, axis=1))
    expected = reference.ttest_1samp(by_seed, 0.0)
    assert found.p == pytest.approx(expected.pvalue)
    low, high = expected.confidence_interval()
    assert found.half_width == pytest.approx((high - low) / 2)


def test_without_seed_effects_it_is_the_t_test_over_items() -> None:
    by_item = np.random.default_rng(0).normal(0.2, 1, 40)
    found = statistics.crossed(np.repeat(by_item[None], 3, axis=0))
    expected = reference.ttest_1samp(by_item, 0.0)
    error = found.half_width / reference.t.ppf(0.975, 2)
    assert error == pytest.approx(by_item.std(ddof=1) / np.sqrt(40))
    assert found.df == 2  # two other seeds might have shown that they differ
    assert statistics.over_items(by_item).p == pytest.approx(expected.pvalue)


@pytest.mark.parametrize("shape", [(1, 9), (4, 1), (0, 3)])
def test_too_little_data_gives_no_test(shape: tuple[int, int]) -> None:
    found = statistics.crossed(np.full(shape, 0.5))
    assert np.isnan(found.half_width)
    assert np.isnan(found.p)
    assert found.test == "none"


def test_no_spread_is_exact_and_never_nan() -> None:
    assert statistics.crossed(np.zeros((3, 5))).p == 1.0
    assert statistics.crossed(np.ones((3, 5))).p == 0.0
    assert statistics.crossed(np.ones((3, 5))).half_width == 0.0


def test_a_variance_that_comes_out_negative_is_replaced() -> None:
    values = np.array([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0]])  # only residuals
    found = statistics.crossed(values)
    assert found.mean == 0.0
    assert found.p == 1.0
    assert found.half_width > 0


def test_a_component_that_comes_out_negative_is_zero() -> None:
    draw = np.random.default_rng(3)
    values = draw.normal(0.1, 1, (4, 30)) + draw.normal(0, 1, (1, 30))
    even = values - values.mean(axis=1, keepdims=True) + values.mean()  # no seed effect at all
    by_item = reference.ttest_1samp(even.mean(axis=0), 0.0)
    found = statistics.crossed(even)
    assert statistics.mean_squares(even)[0] == pytest.approx(0.0, abs=1e-12)
    expected = 2 * reference.t.sf(abs(by_item.statistic), 3)
    assert (found.p, found.df) == (pytest.approx(expected), 3)
    found = statistics.crossed(even.T)  # seeds and items change places
    assert (found.p, found.df) == (pytest.approx(expected), 3)


def test_the_variance_is_never_below_that_of_seeds_or_items_alone() -> None:
    draw = np.random.default_rng(4)
    for _ in range(200):
        values = draw.normal(0, 1, (3, 12)) + draw.normal(0, draw.choice([0, 1]), (3, 1))
        found = statistics.crossed(values)
        error = found.half_width / reference.t.ppf(0.975, found.df)
        for axis in (0, 1):
            means = values.mean(axis=axis)
            assert error >= means.std(ddof=1) / np.sqrt(len(means)) * (1 - 1e-9)


def draws_of_means(
    rng: np.random.Generator, seeds: int, reference_sd: float, row_sds: np.ndarray
) -> np.ndarray:
    """Mean differences (R,S) of rows to one reference row, what seeds do to it and to them."""
    rows = rng.normal(0, 1, (len(row_sds), seeds)) * row_sds[:, None]
    return np.asarray(rows - rng.normal(0, reference_sd, seeds))


def test_the_prior_of_equal_variances_is_their_mean() -> None:
    assert statistics.prior(np.array([2.0, 2.0, 2.0]), 4) == (np.inf, 2.0)
    assert statistics.prior(np.zeros(3), 4) == (np.inf, 0.0)


@pytest.mark.parametrize(("df", "prior_df"), [(2, 4.0), (4, 10.0), (9, 3.0)])
def test_the_prior_is_the_one_that_was_put_in(df: int, prior_df: float) -> None:
    """s^2 ~ s_0^2 F(df, d_0): moments find what was drawn, as maximum likelihood does."""
    rng = np.random.default_rng(df)
    drawn = 0.3 * rng.f(df, prior_df, 4000)
    found_df, found_variance = statistics.prior(drawn, df)
    assert found_df == pytest.approx(prior_df, rel=0.25)
    assert found_variance == pytest.approx(0.3, rel=0.1)

    def loss(logs: np.ndarray) -> float:
        return -float(reference.f.logpdf(drawn, df, np.exp(logs[0]), scale=np.exp(logs[1])).sum())

    likeliest = np.exp(optimize.minimize(loss, np.zeros(2), method="Nelder-Mead").x)
    assert found_df == pytest.approx(likeliest[0], rel=0.25)
    assert found_variance == pytest.approx(likeliest[1], rel=0.1)


@given(value=st.floats(1e-3, 1e3))
def test_the_inverse_of_trigamma(value: float) -> None:
    x = statistics._inverse_trigamma(value)
    assert special.polygamma(1, x) == pytest.approx(value, rel=1e-6)


def test_rows_that_vary_alike_have_the_error_of_a_mixed_model() -> None:
    """REML of d_rs = mean_r + u_s + e_rs by statsmodels, where no moderation is needed."""
    rng = np.random.default_rng(5)
    means = draws_of_means(rng, 8, 0.2, np.full(6, 0.05)) + np.arange(6)[:, None]
    rest = means - means.mean(axis=0)
    rest /= rest.std(axis=1, ddof=1, keepdims=True) / 0.05  # alike, so that the prior is all
    rest -= rest.mean(axis=0)
    means = means.mean(axis=0) + rest
    same = np.isinf(statistics.prior(rest.var(axis=1, ddof=1), 7)[0])
    assert same
    row, seed = np.divmod(np.arange(means.size), 8)
    model = MixedLM(means.ravel(), np.eye(6)[row], groups=seed).fit()
    variance, df = statistics.pooled(means[2], means)
    assert np.sqrt(variance / 8) == pytest.approx(model.bse[2], rel=1e-3)
    assert 7 < df <= 28


def test_what_seeds_do_to_the_reference_is_known_from_its_seeds_only() -> None:
    rng = np.random.default_rng(6)
    only_reference = draws_of_means(rng, 5, 0.1, np.zeros(9))
    variance, df = statistics.pooled(only_reference[0], only_reference)
    assert (variance, df) == (pytest.approx(only_reference[0].var(ddof=1)), pytest.approx(4))
    nothing = np.zeros((9, 5))
    assert statistics.pooled(nothing[0], nothing) == (0.0, 16.0)


@given(seeds=st.integers(2, 10), rows=st.integers(2, 12), seed=st.integers(0, 10**6))
def test_pooled_degrees_of_freedom_lie_between_those_of_a_row_and_four_times_as_many(
    seeds: int, rows: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    means = draws_of_means(rng, seeds, rng.uniform(0, 0.1), rng.uniform(0, 0.1, rows))
    for own in means:
        variance, df = statistics.pooled(own, means)
        assert variance > 0 and 0.999 * (seeds - 1) <= df <= 4 * (seeds - 1) * 1.001
        again = statistics.pooled(own, means[::-1])  # in whatever order
        assert again == (pytest.approx(variance), pytest.approx(df))


def test_a_row_alone_has_no_peers_and_items_add_no_degrees_of_freedom() -> None:
    values = np.random.default_rng(7).normal(0, 1, (5, 90))
    alone = statistics.crossed(values)
    assert alone.df == 4
    assert statistics.crossed(values, peers=values.mean(axis=1)[None]) == alone
    few = statistics.crossed(values[:, :3], peers=np.random.default_rng(8).normal(0, 1, (6, 5)))
    assert few.df <= 2


def test_holm_is_that_of_statsmodels() -> None:
    draw = np.random.default_rng(0)
    for size in (1, 2, 17, 300):
        p = draw.random(size) ** 3
        p[:: max(1, size // 3)] = p[0]  # ties
        expected = multipletests(p, method="holm")[1]
        np.testing.assert_allclose(statistics.holm(p), expected, rtol=1e-12)
        kept = statistics.holm([float("nan"), *p])
        assert np.isnan(kept[0])
        np.testing.assert_allclose(kept[1:], expected, rtol=1e-12)
    assert statistics.holm([]).shape == (0,)


@pytest.mark.parametrize(("df", "within"), [(2, 0.04), (4, 0.02), (20, 0.005), (99, 0.001)])
def test_the_detectable_difference_is_found_in_four_of_five_cases(df: float, within: float) -> None:
    """Against the noncentral t, which the formula approximates from below for few seeds."""
    quantile = reference.t.ppf(0.975, df)
    found = Difference(0.0, quantile * 0.7, df=df).detectable / 0.7  # in standard errors
    power = reference.nct.sf(quantile, df, found) + reference.nct.cdf(-quantile, df, found)
    assert power == pytest.approx(0.8, abs=within)


@pytest.mark.parametrize("level", [0.05, 0.05 / 30])
def test_the_detectable_difference_at_a_level_is_that_of_statsmodels(level: float) -> None:
    expected = TTestPower().solve_power(nobs=60, alpha=level, power=0.8) * np.sqrt(60)
    found = Difference(0.0, reference.t.ppf(0.975, 59), df=59).detectable_at(level)
    assert found == pytest.approx(expected, rel=5e-3)


def test_the_detectable_difference_is_that_of_statsmodels() -> None:
    expected = TTestPower().solve_power(nobs=60, alpha=0.05, power=0.8) * np.sqrt(60)
    quantile = reference.t.ppf(0.975, 59)
    assert Difference(0.0, quantile, df=59).detectable == pytest.approx(expected, rel=2e-3)
    assert np.isnan(Difference(0.3).detectable)
    values = np.random.default_rng(0).normal(0, 1, (3, 9))
    assert statistics.crossed(values).detectable > statistics.crossed(values).half_width


def simulated(rng: np.random.Generator, seeds: int, items: int) -> np.ndarray:
    """Differences of two methods that are equal but for seed, item and interaction noise."""
    seed = rng.normal(0, 0.12, (seeds, 1))
    return seed + rng.normal(0, 0.3, (1, items)) + rng.normal(0, 0.6, (seeds, items))


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_under_the_null_a_row_alone_is_called_at_most_as_often_as_nominal(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    samples = [simulated(rng, seeds, 60) for _ in range(500)]
    called = np.mean([statistics.crossed(values).p < 0.05 for values in samples])
    naive = np.mean([statistics.over_items(values.mean(axis=0)).p < 0.05 for values in samples])
    assert called <= 0.08  # 5% + 3 standard errors of 500 draws
    assert naive > 0.10  # what takes seeds for fixed calls far more


def table(seeds: list[int | None], items: str, base: float) -> pd.DataFrame:
    values = base + np.arange(len(seeds) * len(items)).reshape(len(seeds), len(items))
    return pd.DataFrame(values, index=pd.Index(seeds, dtype=object), columns=list(items))


def test_pairs_common_seeds_and_items_whatever_their_order() -> None:
    first, second = table([0, 1, 2], "abc", 0.0), table([2, 1, 7], "cab", 0.0)
    expected = np.array(
        [[first.loc[s, i] - second.loc[s, i] for i in "abc"] for s in (1, 2)], dtype=float
    )
    np.testing.assert_array_equal(statistics.paired(first, second), expected)


def test_a_run_without_seed_is_compared_to_every_seed() -> None:
    seeds, single = table([0, 1], "ab", 0.0), table([None], "ab", 10.0)
    assert statistics.paired(single, seeds).tolist() == [[10.0, 10.0], [8.0, 8.0]]
    assert statistics.paired(seeds, single).tolist() == [[-10.0, -10.0], [-8.0, -8.0]]
    assert statistics.paired(single, single).tolist() == [[0.0, 0.0]]


def test_items_that_one_seed_lacks_are_left_out() -> None:
    first, second = table([0, 1], "abc", 0.0), table([0, 1], "abc", 1.0)
    first.loc[1, "b"] = np.nan
    assert statistics.paired(first, second).shape == (2, 2)


def test_summary_and_retention() -> None:
    found = statistics.summarise([0.1, 0.4, float("nan")])
    assert (found.mean, found.n) == (0.25, 2)
    assert found.sd == pytest.approx(np.std([0.1, 0.4], ddof=1))
    assert statistics.summarise([]).n == 0
    assert statistics.retention(0.5, 0.8, 0.2) == pytest.approx(0.5)
    assert np.isnan(statistics.retention(0.2, 0.21, 0.2))


def test_the_ratio_is_the_delta_method_where_seeds_agree() -> None:
    draw = np.random.default_rng(0)
    bottom = draw.normal(1.0, 1.0, 400)
    top = 0.5 * bottom + draw.normal(0, 0.5, 400)
    found = statistics.ratio(np.tile(top, (3, 1)), np.tile(bottom, (3, 1)))
    assert found is not None
    ratio = top.mean() / bottom.mean()
    covariance = np.cov(top, bottom)
    variance = covariance[0, 0] - 2 * ratio * covariance[0, 1] + ratio**2 * covariance[1, 1]
    error = np.sqrt(variance / 400) / bottom.mean()
    assert found.mean == pytest.approx(ratio)
    assert found.half_width == pytest.approx(reference.t.ppf(0.975, 2) * error)


def test_the_ratios_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    draw, held = np.random.default_rng(1), 0
    for _ in range(300):
        shared = draw.normal(0, 1.0, 120) + draw.normal(0, 0.15, (4, 1))
        bottom = 1.0 + shared + draw.normal(0, 0.5, (4, 120))
        top = 0.6 + 0.5 * shared + draw.normal(0, 0.5, (4, 120))
        found = statistics.ratio(top, bottom)
        assert found is not None
        held += abs(found.mean - 0.6) <= found.half_width
    assert 0.91 <= held / 300 <= 1.0


def test_a_ratio_with_peers_has_the_interval_of_their_pooled_seeds() -> None:
    draw = np.random.default_rng(3)
    bottom = draw.normal(1.0, 0.5, (5, 80))
    tops = [share * bottom + draw.normal(0, 0.5, (5, 80)) for share in (0.2, 0.5, 0.9)]
    found = statistics.ratio(tops[1], bottom, peers=tops)
    assert found is not None
    ratio = tops[1].mean() / bottom.mean()
    left = [(top - ratio * bottom) / bottom.mean() for top in tops]
    expected = statistics.crossed(left[1], peers=np.array([one.mean(axis=1) for one in left]))
    assert (found.mean, found.df) == (pytest.approx(ratio), pytest.approx(expected.df))
    assert found.df > 4 and found.half_width == pytest.approx(expected.half_width)


def test_a_ratio_to_nothing_or_of_one_seed_is_not_given() -> None:
    noise = np.random.default_rng(2).normal(0, 1, (3, 50))
    assert statistics.ratio(noise + 1, noise - noise.mean()) is None
    assert statistics.ratio(noise[:1] + 1, noise[:1] + 9) is None  # one seed has no interval


@given(st.integers(20, 2000), st.floats(0, 0.5), st.floats(0, 1))
def test_skill_is_known_where_chance_is_two_standard_errors_away(items, chance, before):
    found = statistics.skill(before, chance, items)
    error = proportion_std(before, items)
    least = max(2 * error, statistics.LEAST_SKILL)
    assume(abs(before - chance - least) > 1e-9)  # on the edge rounding decides
    clear = before - chance >= least
    assert found == before - chance if clear else np.isnan(found)
    # More items never hide a skill that fewer showed.
    assert not clear or statistics.skill(before, chance, 4 * items) == before - chance


def proportion_std(share: float, items: int) -> float:
    """The standard error of a share by scipy's binomial distribution."""
    return float(reference.binom(items, share).std()) / items
