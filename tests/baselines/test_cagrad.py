"""CAGrad: its direction against the definition and the dual, both by SLSQP."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from compact_bench.methods.registry import load
from tests.baselines.hand_made import random_gradients, step_along

CAGRAD = load().methods["cagrad"]


def make(c: float, rescale: bool = False):
    return CAGRAD(CAGRAD.Config(c=c, rescale=rescale))


def dual_by_scipy(gradient, c: float):
    """d from min over the simplex of g_w . g_0 + c |g_0| |g_w|, from several starts."""
    g = gradient.double().numpy()
    g0 = g.mean(0)
    radius, count = c * np.linalg.norm(g0), len(g)
    found = [
        minimize(
            lambda w: (w @ g) @ g0 + radius * np.linalg.norm(w @ g),
            start,
            bounds=[(0, 1)] * count,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 1000},
        )
        for start in [np.ones(count) / count, *np.eye(count)]
    ]
    w = min(found, key=lambda one: one.fun).x
    return g0 + radius * (w @ g) / np.linalg.norm(w @ g)


def primal_by_scipy(gradient, c: float):
    """max t with g_k . d >= t and |d - g_0| <= c |g_0|: the definition itself."""
    g = gradient.double().numpy()
    g0 = g.mean(0)
    radius = c * np.linalg.norm(g0)
    found = minimize(
        lambda x: -x[-1],
        np.append(g0, (g @ g0).min()),
        constraints=[
            {"type": "ineq", "fun": lambda x: g @ x[:-1] - x[-1]},
            {"type": "ineq", "fun": lambda x: radius**2 - ((x[:-1] - g0) ** 2).sum()},
        ],
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    return found.x[:-1]


@pytest.mark.parametrize("solve", [dual_by_scipy, primal_by_scipy])
@pytest.mark.parametrize("c", [0.1, 0.4, 0.9])
@pytest.mark.parametrize(("count", "seed"), [(2, 0), (3, 1), (4, 2), (4, 3), (6, 4)])
def test_the_direction_is_that_of_scipy(count, seed, c, solve):
    gradient = random_gradients(count, 8, seed)
    added, _ = step_along(make(c), gradient)
    expected = torch.from_numpy(solve(gradient, c)).float()
    assert float((added - expected).norm()) < 2e-3 * float(expected.norm())


@pytest.mark.parametrize("seed", range(6))
def test_no_direction_in_the_ball_is_better_for_the_worst_teacher(seed):
    gradient = random_gradients(3, 5, seed, common=0.2)
    added, _ = step_along(make(0.5), gradient)
    mean = gradient.mean(0)
    radius = 0.5 * float(mean.norm())
    assert float((added - mean).norm()) <= radius * (1 + 1e-4)
    draw = torch.Generator().manual_seed(seed)
    tried = torch.randn(5000, 5, generator=draw)
    tried = mean + radius * tried / tried.norm(dim=-1, keepdim=True)
    assert (
        float((tried @ gradient.T).min(-1).values.max()) <= float((gradient @ added).min()) + 1e-4
    )


def test_c_of_0_is_the_average_and_rescaling_divides():
    gradient = random_gradients(3, 7, 0)
    added, step = step_along(make(0.0), gradient, loss=[1.0, 2.0, 6.0])
    assert torch.allclose(added, gradient.mean(0), atol=1e-6)
    assert float(step.loss) == pytest.approx(3)
    plain, _ = step_along(make(0.5), gradient)
    scaled, _ = step_along(make(0.5, rescale=True), gradient)
    assert torch.allclose(scaled, plain / 1.25, atol=1e-6)


def test_equal_gradients_are_followed_further():
    gradient = torch.tensor([[3.0, 4.0]]).expand(3, 2)
    added, step = step_along(make(0.4), gradient)
    assert added.tolist() == pytest.approx([1.4 * 3, 1.4 * 4], rel=1e-5)
    assert step.weights[0].tolist() == pytest.approx([1 / 3] * 3)


def test_opposed_gradients_end_at_the_ball_and_stay_finite():
    """g_1 = (2, 0), g_2 = (-1, 0): along the line they can't both gain; 1 -+ c is the least bad."""
    added, _ = step_along(make(0.4), [[2.0, 0.0], [-1.0, 0.0]])
    assert added.tolist() == pytest.approx([0.5 * 0.6, 0], abs=1e-5)
    nothing, _ = step_along(make(0.4), torch.zeros(2, 3))
    assert nothing.tolist() == [0, 0, 0]


def test_a_gradient_that_is_not_finite_is_left_to_the_trainer():
    added, _ = step_along(make(0.4), torch.tensor([[float("nan"), 0], [1, 1]]))
    assert added.isnan().any()
