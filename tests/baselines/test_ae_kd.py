"""AE-KD: its programme against SLSQP, and its two ends: the average and MGDA."""

from __future__ import annotations

import pytest
import torch
from torchjd.aggregation import MGDA

from compact_bench.methods.registry import load
from tests.baselines.hand_made import random_gradients, step_along
from tests.methods.test_min_norm import by_scipy
from tests.models import make_batch, make_student

METHODS = load().methods
AE_KD = METHODS["ae_kd"]


def make(bound: float = 0.6):
    return AE_KD(AE_KD.Config(bound=bound))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("bound", [0.25, 0.3, 0.5, 0.75, 1])
def test_weights_are_those_of_scipy(bound, seed):
    gradient = random_gradients(4, 20, seed)
    added, step = step_along(make(bound), gradient)
    gram = (gradient @ gradient.T).double()
    expected = by_scipy(gram, torch.full((4,), bound, dtype=torch.float64)).float()
    assert torch.allclose(step.weights[0], expected, atol=1e-4)
    assert torch.allclose(added, expected @ gradient, atol=1e-3)


@pytest.mark.parametrize("layout", ["padded", "shared"])
def test_a_bound_of_1_over_k_is_the_average_also_where_a_teacher_is_absent(layout):
    gradients = []
    for method in (make(1 / 3), METHODS["average"]()):
        student = make_student("llama", layout)
        step = method.backward(student, make_batch(student.tokenizer))
        gradients.append(torch.cat([p.grad.flatten() for p in student.trainable().values()]))
        assert step.weights[1].tolist() == pytest.approx([0.5, 0.5, 0])
    assert torch.allclose(*gradients, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("seed", range(8))
def test_a_bound_of_1_is_mgda(seed):
    gradient = random_gradients(4, 20, seed)
    added, _ = step_along(make(1.0), gradient)
    reference = MGDA(epsilon=1e-9, max_iters=20_000)(gradient)
    # The reference takes conditional-gradient steps, which come near the optimum only slowly.
    assert float((added - reference).norm()) < 0.02 * float(gradient.norm(dim=1).mean())
    assert float(added.norm()) <= float(reference.norm()) + 1e-5


@pytest.mark.parametrize("seed", range(8))
def test_mgda_lowers_every_teachers_loss_alike(seed):
    """At the least norm g . g_k >= |g|^2, with equality for teachers that have weight."""
    gradient = random_gradients(4, 20, seed, common=1.0)
    added, step = step_along(make(1.0), gradient)
    gains, norm = gradient @ added, float(added @ added)
    assert float(gains.min()) >= norm - 1e-4
    for gain, weight in zip(gains.tolist(), step.weights[0].tolist(), strict=True):
        if weight > 1e-6:
            assert gain == pytest.approx(norm, rel=1e-4)


def test_a_gradient_that_is_not_finite_is_left_to_the_trainer():
    added, _ = step_along(make(0.5), torch.tensor([[float("nan"), 0], [1, 1]]))
    assert added.isnan().any()


def test_settings_out_of_range_are_refused():
    for bound in (0, 1.5):
        with pytest.raises(ValueError, match="bound"):
            make(bound)


@pytest.mark.parametrize("teachers", [1, 2, 3, 4, 5, 8])
def test_the_default_caps_a_teacher_at_the_releases_share(teachers):
    """One tiny gradient would get everything: it gets 0.6, or all where it is alone."""
    gradient = torch.eye(teachers)
    gradient[0] *= 1e-3
    _, step = step_along(make(), gradient)
    assert float(step.weights.max()) == pytest.approx(0.6 if teachers > 1 else 1.0, abs=1e-4)
