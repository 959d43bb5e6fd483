"""What a suite can see: against simulated suites, and by properties of designs."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference

from compact_bench.analysis import claims
from compact_bench.analysis.resolution import COMPONENTS, WANTED, Design, advice, measured
from compact_bench.analysis.results import read
from docs.simulate_tests import TESTS, Noise, published_components, rejected
from tests import synthetic
from tests.synthetic import Made

DESIGNS = st.builds(
    Design,
    role=st.sampled_from(sorted(COMPONENTS)),
    items=st.integers(20, 3000),
    seeds=st.integers(2, 20),
    rows=st.integers(1, 20),
)
USUAL = Design("reasoning", 1000, 5, 12)


def noise(design: Design) -> Noise:
    """Simulated suites of a design, every row as variable as its reference row."""
    sds = COMPONENTS[design.role]
    one = sds.seed / math.sqrt(2)
    return Noise(design.seeds, design.items, (one,) * design.rows, one, sds.item, sds.error)


def test_the_expected_interval_by_hand() -> None:
    found = replace(USUAL, rows=1).expected()
    error = math.sqrt(0.016**2 / 5 + 0.20**2 / 1000 + 0.39**2 / 5000)
    assert found.half_width == pytest.approx(reference.t.ppf(0.975, 4) * error)
    assert USUAL.expected().df == pytest.approx(4 * 4 * 11 / 12)


@pytest.mark.parametrize("role", sorted(COMPONENTS))
def test_the_interval_is_that_of_simulated_suites(role: str) -> None:
    design = replace(USUAL, role=role, items=400)
    rng = np.random.default_rng(0)
    found = []
    for _ in range(30):
        values = noise(design).draw(rng)
        found += [TESTS["pooled"](row, values.mean(axis=2)).half_width for row in values]
    assert np.mean(found) == pytest.approx(design.expected().half_width, rel=0.12)


def test_three_points_are_found_in_four_of_five_suites_of_the_advised_size() -> None:
    """1,000 items x 5 seeds see 3.3 points; 3 take the items or the seeds that are advised.

    The formula of what is detectable is right to about a hundredth of power.
    """
    assert not USUAL.sees(0.03) and USUAL.sees(0.035)
    items, seeds = USUAL.enough(0.0295)
    assert items and seeds
    for design in (replace(USUAL, items=items), replace(USUAL, seeds=seeds)):
        power = rejected(noise(design), TESTS["pooled"], 25, gain=0.03)
        assert power[0] >= 0.8
    assert rejected(noise(USUAL), TESTS["pooled"], 25, gain=0.03)[0] < 0.8


@given(design=DESIGNS)
def test_more_items_seeds_and_rows_never_see_less(design: Design) -> None:
    seen = design.detectable()
    for name in ("items", "seeds", "rows"):
        more = replace(design, **{name: getattr(design, name) + 1})
        assert more.detectable() <= seen * (1 + 1e-9)
    assert design.detectable(0.001) > seen > design.expected().half_width


@given(design=DESIGNS)
def test_what_is_advised_is_the_least_that_does(design: Design) -> None:
    items, seeds = design.enough()
    lines = advice([("a task", design)])
    assert bool(lines) != design.sees()
    if design.sees():
        return
    if items:
        assert replace(design, items=items).sees()
        assert not replace(design, items=max(items - 100, design.items)).sees()
        assert f"{items} items" in lines[0]
    if seeds:
        assert replace(design, seeds=seeds).sees() and not replace(design, seeds=seeds - 1).sees()
        assert f"{seeds} seeds would" in lines[0]


def test_one_seed_has_no_interval_and_sees_nothing() -> None:
    alone = replace(USUAL, seeds=1)
    assert math.isnan(alone.detectable()) and not alone.sees()
    assert "with 1000 items and 1 seed: " in advice([("t", alone)])[0]


def test_what_neither_alone_would_do_takes_both() -> None:
    (line,) = advice([("facts", Design("forgetting", 50, 3, 12))])
    assert line.startswith(
        "can't see 4 points on facts with 50 items and 3 seeds: 1000 items with "
    )


def test_a_run_says_what_it_measured(tmp_path: Path) -> None:
    results = read(synthetic.make(tmp_path, Made(items=40, steps=2)))
    lines = measured(results)
    assert len(lines) == len(claims.primary(results))
    tested = [
        d for row in results.rows if (d := results.difference(row, claims.primary(results)[0]))
    ]
    middle = 100 * float(np.median([d.detectable for d in tested]))
    assert middle > 100 * WANTED
    assert f"finds {middle:.1f} at 5%" in lines[0]
    assert all("4 points can't be seen" in line for line in lines)
    one_seed = read(synthetic.make(tmp_path / "one", Made(seeds=(0,), items=20, steps=2)))
    assert measured(one_seed) == []


@pytest.mark.slow
def test_the_constants_are_those_of_the_published_suites() -> None:
    found = published_components(Path(__file__).parents[2] / "results" / "published")
    for role, sds in COMPONENTS.items():
        assert found[role]["item"] == pytest.approx(sds.item, abs=0.03)
        assert found[role]["error"] == pytest.approx(sds.error, abs=0.03)
        assert found[role]["seed"] <= sds.seed + 0.005
