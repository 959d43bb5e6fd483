"""The penalty by its definition, at its ends, and after an interruption."""

from __future__ import annotations

import pytest
import torch

from compact_bench.methods.registry import load
from compact_bench_baselines.average import Average
from tests.trainers import assert_resumes, run, same, trainer

METHOD = load().methods["l2_sp"]


def made(alpha: float, **arguments):
    return trainer(METHOD(METHOD.Config(alpha=alpha)), **arguments)


def fitted(one):
    one.distiller.fit(one)
    return one


def layers(one) -> torch.Tensor:
    """The weights of all layers as they act, adapters merged in."""
    one.student.merged()
    return torch.cat([p.detach().flatten() for p in one.student.model.parameters()])


def test_the_gradient_is_the_averages_and_alpha_times_the_change():
    one, plain = made(0.5), trainer(Average())
    batch = next(one.batches())
    method, student = one.distiller, one.student
    method.start = student.state_dict()
    with torch.no_grad():
        for other in (student, plain.student):
            for parameter in other.trainable().values():
                parameter.add_(0.05 * torch.sign(parameter))
    step = method.backward(student, batch)
    expected = plain.distiller.backward(plain.student, batch)
    for name, parameter in student.trainable().items():
        pull = 0.5 * (parameter - method.start[name])
        gradient = plain.student.trainable()[name].grad + pull
        assert torch.allclose(parameter.grad, gradient, atol=1e-5), name
    squares = sum(
        float((p.detach() - method.start[n]).square().sum()) for n, p in student.trainable().items()
    )
    gap = float(step.loss.detach() - expected.loss.detach())
    assert gap == pytest.approx(0.25 * squares, rel=1e-3)


@pytest.mark.parametrize("lora", [False, True])
def test_the_more_it_weighs_the_nearer_the_layers_stay(lora):
    before = layers(trainer(lora=lora))
    moves = [
        float((layers(fitted(made(alpha, lora=lora, epochs=4))) - before).norm())
        for alpha in (0.0, 1.0, 100.0)
    ]
    assert moves[0] > moves[1] > 2 * moves[2] > 0


@pytest.mark.parametrize("lora", [False, True])
def test_alpha_of_0_is_the_average(lora):
    one, plain = fitted(made(0.0, lora=lora)), trainer(Average(), lora=lora)
    assert same(one.student.state_dict(), run(plain))
    assert one.student.cost == plain.student.cost


@pytest.mark.parametrize("lora", [False, True])
def test_an_interrupted_run_is_held_to_the_same_start(tmp_path, lora):
    assert_resumes(lambda folder: made(1.0, folder=folder, lora=lora), fitted, tmp_path, 6)
