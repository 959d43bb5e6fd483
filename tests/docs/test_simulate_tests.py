"""Under the null: how often the primary test and the descriptive ones call a difference."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats as reference

from compact_bench.analysis import statistics
from docs import simulate_tests
from docs.simulate_tests import Noise, World

PAGE = Path(__file__).parents[2] / "docs" / "statistics.md"
NAMES = [*simulate_tests.SETTINGS]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=[3, 5, 10])
def called(request: pytest.FixtureRequest) -> dict[str, float]:
    """Shares of 3,000 comparisons without any difference, on 200 items."""
    world = World(seeds=request.param)
    return simulate_tests.significant_shares(
        simulate_tests.differences(world, 600, np.random.default_rng(world.seeds))
    )


def test_the_primary_test_calls_no_more_than_its_level(called: dict[str, float]) -> None:
    assert 0.005 <= called["crossed"] <= 0.055


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
@pytest.mark.parametrize("noise", ["typical", "facts"])
def test_the_primary_test_keeps_holms_levels(noise: str, seeds: int) -> None:
    """Where the rejected test calls too many; computed from intervals, so to a tenth or so."""
    reference, rows = simulate_tests.NOISES[noise]
    world = Noise(seeds, 1000, rows, reference)
    levels = np.array(simulate_tests.LEVELS)
    pooled, alone, rejected = (
        np.array(simulate_tests.rejected(world, test, 40)) / levels
        for test in simulate_tests.TESTS.values()
    )
    assert (pooled <= 1.25).all() and (alone <= 1.1).all()
    assert seeds == 10 or (rejected[1:] > 1.25).all()
    assert pooled[0] >= alone[0]


def test_the_rejected_test_is_that_of_satterthwaite() -> None:
    values = Noise(4, 60, item=0.5).draw(np.random.default_rng(3))[0] + np.arange(4)[:, None] / 9
    by_seed, by_item, error = statistics.mean_squares(values)
    assert by_seed > error and by_item > error
    total = by_seed + by_item - error
    df = total**2 / (by_seed**2 / 3 + by_item**2 / 59 + error**2 / 177)
    found = simulate_tests.satterthwaite(values)
    assert found.df == pytest.approx(df)
    assert found.half_width == pytest.approx(reference.t.ppf(0.975, df) * np.sqrt(total / 240))


def test_the_noise_has_the_variance_that_it_says() -> None:
    noise = Noise(3, 20, (0.1, 0.3), 0.2)
    draw = np.random.default_rng(4)
    means = np.array([noise.draw(draw).mean(axis=(1, 2)) for _ in range(4000)])
    assert means.var(axis=0) == pytest.approx(noise.variance, rel=0.08)
    assert np.abs(means.mean(axis=0)).max() < 0.02
    assert replace(noise, gain=0.5).draw(draw).mean() > 0.1


def test_what_takes_seeds_for_fixed_calls_too_many(called: dict[str, float]) -> None:
    assert called["bootstrap over items"] > 0.07
    assert called["McNemar"] > 0.12
    assert called["McNemar"] > called["bootstrap over items"]


def test_the_world_has_no_true_difference_and_the_spreads_it_says() -> None:
    world = World(seeds=4, items=50, own_seed=0.0, item_by_method=0.0, seed_by_item=0.0)
    draw = np.random.default_rng(0)
    values = simulate_tests.differences(world, 800, draw)
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(values.size)
    found = simulate_tests.components(values)
    # Given the item, both methods are drawn alike: nothing but what is left varies.
    assert found["seed"] < 0.02 and found["item"] < 0.02
    more = simulate_tests.components(
        simulate_tests.differences(replace(world, own_seed=1.0), 200, draw)
    )
    assert more["seed"] > 0.1
    suited = replace(world, item_by_method=2.0)
    assert simulate_tests.components(simulate_tests.differences(suited, 200, draw))["item"] > 0.2


def test_components_are_those_that_were_put_in() -> None:
    draw = np.random.default_rng(1)
    shape = 3000, 4, 30
    values = 0.3 * draw.normal(size=(3000, 4, 1)) + 0.5 * draw.normal(size=(3000, 1, 30))
    found = simulate_tests.components(values + 0.7 * draw.normal(size=shape))
    assert found == pytest.approx({"seed": 0.3, "item": 0.5, "error": 0.7}, rel=0.03)


def test_the_page_holds_the_figures_of_this_world() -> None:
    """A row of docs/statistics.md is made again, with the page's command."""
    rows = re.findall(r"^\| (.+?) \| (\d+) \|(.*)\|$", PAGE.read_text("utf-8"), re.MULTILINE)
    rows = [row for row in rows if row[0] in NAMES]
    assert [row[0] for row in rows] == [name for name in NAMES for _ in range(3)]
    by_key = {(name, int(seeds)): rest for name, seeds, rest in rows}
    written = [float(x) for x in by_key["100 items", 3].split("|")]
    world = World(seeds=3, items=100)
    values = simulate_tests.differences(world, 600, np.random.default_rng(3))
    shares = simulate_tests.significant_shares(values)
    made = [*simulate_tests.components(values).values(), *(100 * x for x in shares.values())]
    assert made[:3] == pytest.approx(written[:3], abs=0.0006)
    assert made[3:] == pytest.approx(written[3:], abs=0.11)  # one comparison in a thousand


def test_the_page_holds_the_sizes_of_this_noise() -> None:
    line = re.compile(r"^\| ([\w ]+) \| (\d+) \| (\d+) \| ([\d./ ]+) \|", re.MULTILINE)
    rows = [found for found in line.findall(PAGE.read_text("utf-8")) if "/" in found[3]]
    written = {(name, int(items), int(seeds)): cell for name, items, seeds, cell in rows}
    assert {name for name, *_ in written} == {*simulate_tests.NOISES}
    reference_seed, seeds = simulate_tests.NOISES["facts"]
    noise = Noise(3, 100, seeds, reference_seed)
    found = simulate_tests.rejected(noise, simulate_tests.TESTS["pooled"], 150)
    made = [share / level for share, level in zip(found, simulate_tests.LEVELS, strict=True)]
    assert made == pytest.approx([*map(float, written["facts", 100, 3].split("/"))], abs=0.051)
