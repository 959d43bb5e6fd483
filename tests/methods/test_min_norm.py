"""The quadratic programme against scipy's SLSQP, and where its solution is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from compact_bench.methods.min_norm import capped_weights
from tests.baselines.hand_made import random_gradients


def by_scipy(gram, cap, linear=None):
    """The same programme by another algorithm."""
    g, linear = gram.numpy(), np.zeros(len(cap)) if linear is None else linear.numpy()
    scale = np.trace(g)
    found = minimize(
        lambda w: (w @ g @ w / 2 + linear @ w) / scale,
        cap.numpy() / cap.sum().item(),
        jac=lambda w: (g @ w + linear) / scale,
        bounds=[(0, float(c)) for c in cap],
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 500},
    )
    return torch.from_numpy(found.x)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 6), st.integers(0, 10_000), st.floats(0, 1), st.booleans())
def test_weights_are_those_of_scipy(count, seed, tight, tilted):
    gradient = random_gradients(count, 12, seed).double()
    gram = gradient @ gradient.T
    # From the cap that leaves only equal weights to the one that binds nothing.
    cap = torch.full((count,), 1 / count + tight * (1 - 1 / count), dtype=torch.float64)
    linear = gram.mean(-1) if tilted else None
    weights, expected = capped_weights(gram, cap, linear), by_scipy(gram, cap, linear)
    assert float(weights.sum()) == pytest.approx(1)
    assert float(weights.min()) >= 0
    assert (weights <= cap + 1e-9).all()
    assert torch.allclose(weights, expected, atol=1e-4)


@given(st.floats(0.1, 10), st.floats(0.1, 10))
def test_two_orthogonal_gradients_weigh_as_their_inverse_squares(a, b):
    gram = torch.diag(torch.tensor([a * a, b * b], dtype=torch.float64))
    weights = capped_weights(gram, torch.ones(2))
    assert weights.tolist() == pytest.approx([b * b / (a * a + b * b), a * a / (a * a + b * b)])


def test_caps_that_sum_to_one_are_the_weights():
    cap = torch.tensor([0.5, 0.3, 0.2])
    gradient = random_gradients(3, 5, 1)
    assert torch.allclose(capped_weights(gradient @ gradient.T, cap), cap.double())


def test_parallel_gradients_leave_the_shortest():
    gradient = torch.tensor([[3.0], [1.0], [2.0]])
    assert capped_weights(gradient @ gradient.T, torch.ones(3)).tolist() == [0, 1, 0]
    capped = capped_weights(gradient @ gradient.T, torch.full((3,), 0.6))
    assert capped.tolist() == pytest.approx([0, 0.6, 0.4])


def test_a_start_does_not_matter():
    gradient = random_gradients(4, 9, 3)
    gram = gradient @ gradient.T
    corner = capped_weights(gram, torch.ones(4), start=[1.0, 0.0, 0.0, 0.0])
    assert torch.allclose(corner, capped_weights(gram, torch.ones(4)), atol=1e-6)


def test_what_is_not_finite_gives_the_caps_back_and_too_small_caps_are_refused():
    gram = torch.full((2, 2), float("nan"))
    assert capped_weights(gram, torch.tensor([0.9, 0.3])).tolist() == pytest.approx([0.75, 0.25])
    with pytest.raises(ValueError, match="sum to less than 1"):
        capped_weights(torch.eye(2), torch.tensor([0.4, 0.4]))
