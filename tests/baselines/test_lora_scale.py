"""A part of the change is kept: of the weights, and of the product of two adapter factors."""

from __future__ import annotations

import pytest
import torch

from compact_bench.methods.registry import load
from compact_bench_baselines.average import Average
from tests.trainers import run, same, trainer

SCALE = load().methods["lora_scale"]


def fitted(scale: float, **arguments):
    made = trainer(SCALE(SCALE.Config(scale=scale)), **arguments)
    made.distiller.fit(made)
    return made


def weights(student) -> dict[str, torch.Tensor]:
    """The plain model's weights, adapters merged in."""
    return {n: p.detach().clone() for n, p in student.merged().named_parameters()}


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("scale", [0.0, 0.25, 1.0])
def test_the_models_weights_move_by_that_share(lora, scale):
    start = weights(trainer(lora=lora).student)
    whole = trainer(Average(), lora=lora)
    run(whole)
    end, found = weights(whole.student), weights(fitted(scale, lora=lora).student)
    assert any(not torch.equal(start[name], end[name]) for name in start)
    for name in start:
        expected = start[name] + scale * (end[name] - start[name])
        assert torch.allclose(found[name], expected, atol=1e-6), name


def test_an_interrupted_run_is_scaled_once(tmp_path):
    expected = fitted(0.5).student.state_dict()
    first = trainer(SCALE(SCALE.Config(scale=0.5)), folder=tmp_path)
    first.distiller.fit(first)
    again = fitted(0.5, folder=tmp_path)  # killed after training, before the cell was done
    assert same(again.student.state_dict(), expected)


def test_scales_out_of_range_are_refused():
    for scale in (-0.1, 1.1):
        with pytest.raises(ValueError, match="scale"):
            SCALE.Config(scale=scale)
