"""PCGrad: projections in a random order, against torchjd and by hand."""

from __future__ import annotations

import pytest
import torch
from torchjd.aggregation import PCGrad as Reference

from compact_bench.methods.registry import load
from tests.baselines.hand_made import HandMade, one_question, random_gradients, step_along

PCGRAD = load().methods["pcgrad"]


def by_projection(gradient, seed: int):
    """The definition, on the gradients themselves; the order from the same draws."""
    draw = torch.Generator().manual_seed(seed)
    found = []
    for k in range(len(gradient)):
        own = gradient[k].clone()
        for j in torch.randperm(len(gradient), generator=draw).tolist():
            if j != k and own @ gradient[j] < 0:
                own -= (own @ gradient[j]) / (gradient[j] @ gradient[j]) * gradient[j]
        found.append(own)
    return torch.stack(found).mean(0)


def test_two_opposed_gradients_lose_their_opposed_parts():
    added, _ = step_along(PCGRAD(), [[1.0, 0.0], [-1.0, 1.0]])
    # g1' = (1,0) + 1/2 (-1,1) = (1/2,1/2); g2' = (-1,1) + (1,0) = (0,1).
    assert added.tolist() == pytest.approx([0.25, 0.75])


@pytest.mark.parametrize("seed", range(20))
def test_two_teachers_have_no_conflict_left(seed):
    gradient = random_gradients(2, 6, seed, common=0.0)
    added, _ = step_along(PCGRAD(), gradient)
    assert float((gradient @ added).min()) >= -1e-5


def test_agreeing_gradients_are_averaged():
    gradient = torch.rand(4, 8, generator=torch.Generator().manual_seed(0))
    added, step = step_along(PCGRAD(), gradient, loss=[1.0, 2.0, 3.0, 6.0])
    assert torch.allclose(added, gradient.mean(0), atol=1e-6)
    assert float(step.loss) == pytest.approx(3)


@pytest.mark.parametrize("seed", range(10))
def test_coefficients_give_what_projecting_the_gradients_gives(seed):
    gradient = random_gradients(4, 9, seed, common=0.0)
    student = HandMade(gradient)
    PCGRAD().backward(student, one_question(4, seed))
    assert torch.allclose(student.added, by_projection(gradient, seed), atol=1e-4)


@pytest.mark.parametrize("seed", range(10))
def test_two_teachers_step_as_torchjd(seed):
    """With two there is one order only, so that its own draws don't matter; it sums."""
    gradient = random_gradients(2, 9, seed, common=0.0)
    added, _ = step_along(PCGRAD(), gradient)
    assert torch.allclose(added, Reference()(gradient) / 2, atol=1e-4)


def test_the_order_comes_from_the_batch():
    gradient = torch.tensor([[1.0, 0.0], [-0.6, 1.0], [-0.6, -0.9]])  # all oppose each other
    results = []
    for seed in range(6):
        student = HandMade(gradient)
        before = torch.get_rng_state()
        PCGRAD().backward(student, one_question(3, seed))
        assert torch.equal(before, torch.get_rng_state())
        results.append(student.added)
    again = HandMade(gradient)
    PCGRAD().backward(again, one_question(3, 3))
    assert torch.equal(again.added, results[3])
    assert any(not torch.allclose(results[0], other, atol=1e-4) for other in results[1:])


def test_what_is_logged_is_what_was_used():
    gradient = random_gradients(3, 6, 5, common=0.0)
    added, step = step_along(PCGRAD(), gradient)
    used = torch.tensor([step.logs[f"weight_{name}"] for name in "abc"])
    assert torch.allclose(used @ gradient, added, atol=1e-5)
    assert torch.allclose(step.weights[0], used / used.sum())
