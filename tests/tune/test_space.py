"""What is searched: marked settings, their ranges, shares of a simplex, grids, defaults."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import BaseModel, ConfigDict, Field

from compact_bench.api import Tunable
from compact_bench.errors import UserError
from compact_bench.methods import registry
from compact_bench.tune.space import (
    SMALLEST,
    defaults,
    grid_space,
    make_space,
    settings,
    suggest,
)
from compact_bench.tune.trials import LEARNING_RATE, Hyperparameter

RATES = (0.001, 0.002, 0.004)


class Config(BaseModel):
    model_config = ConfigDict(extra="forbid")

    a: Annotated[float, Tunable(0, 3, simplex="s")] = 1.0
    b: Annotated[float, Tunable(0, 3, simplex="s")] = 2.0
    x: Annotated[float, Field(ge=0, le=1), Tunable(0, 1)] = 0.25
    log: Annotated[float, Tunable(0.01, 100, log=True)] = 1.0
    n: Annotated[int, Field(ge=1), Tunable(1, 9)] = 2
    other: str = "other"


def _space(fixed=(), ranges=None, rates=RATES, rate=0.002):
    return make_space(Config(), fixed, ranges, rates, rate)


def _drawn(space):
    """A trial that Optuna has drawn the space for."""
    trial = optuna.create_study().ask()
    suggest(trial, space)
    return trial


def test_every_marked_setting_and_the_learning_rate_are_searched():
    assert {one.name for one in _space()} == {"a", "b", "x", "log", "n", LEARNING_RATE}
    found = _drawn(_space()).distributions
    assert found["x"] == FloatDistribution(0, 1)
    assert found["log"] == FloatDistribution(0.01, 100, log=True)
    assert found["n"] == IntDistribution(1, 9)
    assert found[LEARNING_RATE] == CategoricalDistribution(RATES)
    assert found["a"] == FloatDistribution(SMALLEST, 1.0)


def test_what_the_row_sets_is_not_searched():
    assert {one.name for one in _space(fixed={"x", "n"})} == {"a", "b", "log", LEARNING_RATE}


def test_one_weight_left_of_a_simplex_has_nothing_to_share():
    assert {one.name for one in _space(fixed={"a"})} == {"x", "log", "n", LEARNING_RATE}


def test_one_learning_rate_is_none_to_choose():
    assert LEARNING_RATE not in {one.name for one in _space(rates=(0.002,))}
    # The suite's own rate is always one of the grid.
    assert next(k for k in _space(rates=(0.001,)) if k.name == LEARNING_RATE).choices == (
        0.001,
        0.002,
    )


def test_ranges_narrow_the_space_and_leave_the_rest_out():
    found = {one.name: one for one in _space(ranges={"x": [0.1, 0.5], "n": [2, 4, 8]})}
    assert set(found) == {"x", "n", LEARNING_RATE}
    assert (found["x"].low, found["x"].high) == (0.1, 0.5)
    assert found["n"].choices == (2, 4, 8)


@pytest.mark.parametrize(
    ("ranges", "said"),
    [
        ({"y": [0, 1]}, r"'y' can't be searched.*x"),
        ({"other": [0, 1]}, "'other' can't be searched"),
        ({"x": [0, 2]}, "x can't be 2"),
        ({"n": [0, 3]}, "n can't be 0"),
        ({"log": [0, 1]}, "logarithmic scale: 0 is not above 0"),
        ({"a": [0, 1], "b": [0, 3]}, "a is a share of a fixed sum"),
    ],
)
def test_bad_ranges_are_said_in_one_line(ranges, said):
    with pytest.raises(UserError, match=said):
        _space(ranges=ranges)


@given(st.lists(st.floats(SMALLEST, 1), min_size=2, max_size=4))
def test_shares_of_a_simplex_keep_its_sum(draws):
    space = tuple(
        Hyperparameter(str(i), 1.0, 0, 6, simplex="s", total=6.0) for i in range(len(draws))
    )
    found = settings(space, {str(i): u for i, u in enumerate(draws)})
    assert math.fsum(found.values()) == pytest.approx(6.0)
    assert all(value >= 0 for value in found.values())


def test_shares_are_uniform_on_the_simplex():
    """A share of a uniform draw from the 2-simplex is Beta(1, 2): mean 1/3, variance 1/18."""
    draw = np.random.default_rng(0)
    space = tuple(Hyperparameter(name, 1.0, 0, 1, simplex="s", total=1.0) for name in "abc")
    shares = np.array(
        [
            [settings(space, dict(zip("abc", u, strict=True)))[name] for name in "abc"]
            for u in draw.uniform(SMALLEST, 1, size=(20_000, 3))
        ]
    )
    assert shares.mean(0) == pytest.approx([1 / 3] * 3, abs=0.006)  # 3.6 standard errors
    assert shares.var(0) == pytest.approx([1 / 18] * 3, rel=0.04)
    assert (shares[:, 0] > 0.5).mean() == pytest.approx(0.25, abs=0.011)


@given(st.floats(0, 1), st.floats(0.01, 100), st.integers(1, 9), st.floats(0.05, 3),
       st.floats(0.05, 3))  # fmt: skip
def test_the_draw_of_the_own_settings_gives_them(x, log, n, a, b):
    config = Config(x=x, log=log, n=n, a=a, b=b)
    space = make_space(config, (), None, RATES, 0.002)
    found = settings(space, defaults(space))
    assert found == pytest.approx(
        {"x": x, "log": log, "n": n, "a": a, "b": b, LEARNING_RATE: 0.002}, rel=1e-9, abs=1e-9
    )


def _grid(one, count):
    return grid_space((one,), count)[0].choices


def test_grid_values_are_even_on_their_scale():
    assert _grid(Hyperparameter("x", 0, 0, 1), 3) == (0.0, 0.5, 1.0)
    log = _grid(Hyperparameter("x", 1, 0.01, 100, log=True), 3)
    assert log == pytest.approx((0.01, 1.0, 100.0))
    assert _grid(Hyperparameter("n", 1, 1, 2, integer=True), 3) == (1, 2)
    assert _grid(Hyperparameter("n", 1, choices=(7, 9)), 3) == (7, 9)
    shares = [-math.log(u) for u in _grid(Hyperparameter("a", 1, 0, 1, simplex="s", total=1), 3)]
    assert shares == pytest.approx([0, 1, 2])


def test_the_defaults_of_a_grid_are_its_nearest_point():
    space = grid_space(_space(), 3)
    found = defaults(space)
    for name, one in _drawn(space).distributions.items():
        assert found[name] in one.choices
    assert found["x"] in (0.0, 0.5)


METHODS = registry.load().methods


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_space_whose_defaults_and_ends_it_takes(name):
    """Parametrised over the registry: a Tunable mark that the method refuses can't go unseen."""
    method = METHODS[name]
    config = method.Config()
    space = make_space(config, (), None, RATES, 0.002)
    for draw in (defaults(space), defaults(grid_space(space, 2))):
        values = settings(space, draw)
        values.pop(LEARNING_RATE)
        method.Config.model_validate(config.model_dump() | values)
    own = settings(space, defaults(space))
    for one in space:
        if one.name != LEARNING_RATE:
            assert own[one.name] == pytest.approx(getattr(config, one.name)), one
