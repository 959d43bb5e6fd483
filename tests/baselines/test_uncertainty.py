"""The learned precisions: closed form at the minimum, gradients, and what is recorded."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.optimize import minimize

from compact_bench.methods.registry import load
from compact_bench_baselines.uncertainty import uncertainty_loss
from tests.models import make_batch, make_student
from tests.trainers import trainer

METHOD = load().methods["uncertainty"]


def make(count: int = 3, **settings):
    return METHOD(METHOD.Config(teachers=count, **settings))


def test_its_minimum_is_at_twice_the_mean_loss():
    """d/ds [exp(-s) L + s / 2] = 0 at exp(s) = 2 L; here for losses of several questions."""
    nll = torch.tensor([[0.5, 3.0], [1.5, 1.0], [1.0, 2.0]], dtype=torch.float64)
    present = torch.ones(3, 2, dtype=torch.bool)

    def value(s):
        return float(uncertainty_loss(nll, torch.tensor(s).expand(3, 2), present).mean())

    found = minimize(value, [0.0, 0.0]).x
    assert found == pytest.approx([math.log(2 * 1.0), math.log(2 * 2.0)], abs=1e-4)


def test_absent_rationales_add_nothing():
    nll, s = torch.tensor([[1.0, 7.0]]), torch.tensor([[0.5, 3.0]])
    loss = uncertainty_loss(nll, s, torch.tensor([[True, False]]))
    assert loss.tolist() == pytest.approx([math.exp(-0.5) + 0.25])


def test_it_starts_as_the_sum_over_teachers():
    student = make_student("llama", "shared")
    batch = make_batch(student.tokenizer)
    step = make().loss(student, batch)
    assert float(step.loss.detach()) == pytest.approx(float(step.nll.sum(-1).mean()), abs=1e-5)
    assert step.logs["weight_sum"] == 2.5  # three rationales and two
    assert step.weights[1].tolist() == [0.5, 0.5, 0.0]


def test_weights_follow_s_and_theta_is_trained():
    student = make_student("llama", "padded")
    batch = make_batch(student.tokenizer)
    method = make(rate=10.0)
    (theta,) = method.parameters()
    with torch.no_grad():
        theta.copy_(torch.tensor([0.0, 0.1, -0.05]))  # s = 0, 1, -0.5
    step = method.backward(student, batch)
    precision = torch.exp(-torch.tensor([0.0, 1.0, -0.5]))
    assert torch.allclose(step.weights[0], precision / precision.sum())
    nll = step.nll.double()
    s = torch.tensor([0.0, 1.0, -0.5], dtype=torch.float64)
    # d loss / d theta_k = rate * mean over questions of 1/2 - exp(-s_k) NLL_k, where present
    slope = (0.5 - torch.exp(-s) * nll) * batch.present
    assert theta.grad.tolist() == pytest.approx((10 * slope.mean(0)).tolist(), rel=1e-4)


def test_a_teachers_samples_share_its_s():
    student = make_student("llama", "padded")
    batch = make_batch(student.tokenizer)
    batch.teacher = torch.tensor([[0, 0, 1], [1, 0, -1]])
    method = make(2)
    with torch.no_grad():
        method.theta.copy_(torch.tensor([0.0, 2.0]))
    weights = method.loss(student, batch).weights
    assert weights[0, 0] == weights[0, 1] > weights[0, 2]
    assert weights[1, 1] > weights[1, 0]


def test_the_run_says_how_many_teachers_there_are():
    (config,) = METHOD.variants(METHOD.Config(rate=5.0), ["a", "b", "c", "d"])
    assert (config.teachers, config.rate) == (4, 5.0)
    (theta,) = METHOD(config).parameters()
    assert theta.tolist() == [0.0] * 4 and theta.requires_grad


def test_the_optimizer_moves_it_by_its_own_rate():
    found = {}
    for rate in (1.0, 10.0):
        method = make(2, rate=rate)
        made = trainer(method, epochs=1, count=2, schedule="constant", warmup=0.0)  # one step
        made.run(method)
        found[rate] = rate * method.theta.detach()
    # Adam's first step is the learning rate in each coordinate, whatever the gradient's size; the
    # losses are above 1/2, so s rises.
    assert found[1.0].tolist() == pytest.approx([1e-2] * 2, rel=1e-3)
    assert found[10.0].tolist() == pytest.approx([1e-1] * 2, rel=1e-3)
