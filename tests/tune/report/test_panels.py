"""Limits that a diverged trial doesn't set, and names of files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from compact_bench.tune.report import figures, panels
from compact_bench.tune.trials import Search
from tests.synthetic_search import FLOOR, study

FINITE = st.floats(-1e6, 1e6)


def test_a_diverged_trial_doesn_t_set_the_limits(seen: list[Figure], search: Search) -> None:
    figures.history(search)
    low, high = seen[0].axes[0].get_ylim()
    ours = search.studies[0]
    others = sorted(trial.values[0] for trial in ours.complete)[:-1]
    assert low < others[0] and others[len(others) * 3 // 4] < high < 10
    edge = [line for line in seen[0].axes[0].lines if line.get_marker() == "^"]
    assert 7 in [x for line in edge for x in line.get_xdata()]


@pytest.mark.parametrize(("objective", "worst"), [("marginal_nll", 9.0), ("accuracy", -9.0)])
def test_the_best_and_the_default_are_always_within_limits(objective: str, worst: float) -> None:
    values = [0.0, *np.linspace(0.4, 0.6, 20), -worst, worst]
    one = replace(study((FLOOR,), [(v,) for v in values]), objectives=(objective,))
    scale = 100 if objective == "accuracy" else 1
    ends = sorted(scale * end for end in (-worst, 0.6 if objective == "marginal_nll" else 0.0))
    assert panels.extent(one) == pytest.approx(ends)


@given(st.lists(FINITE, min_size=1, max_size=40), st.sampled_from([1, -1]))
def test_bounds_are_wide_and_hold_the_middle_half(values: list[float], better: int) -> None:
    found = np.array(values)
    low, high = panels.bounds(found, better)
    assert low <= better * max(better * found) <= high  # the best
    first, third = np.quantile(found, [0.25, 0.75], method="nearest")
    assert low < high
    assert low <= first <= third <= high
    assert high - low <= max(np.ptp(found), 0.1 * abs(found[0]), 1.0) * (1 + 1e-9)


@given(st.lists(st.text(max_size=12), min_size=1, max_size=8))
def test_names_of_files_are_safe_and_differ(labels: list[str]) -> None:
    found = panels.slugs(labels)
    assert len({slug.casefold() for slug in found}) == len(labels)
    assert all(slug and slug.isascii() and slug.replace("_", "a").isalnum() for slug in found)
