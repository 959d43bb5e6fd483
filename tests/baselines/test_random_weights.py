"""Weights are Dirichlet distributed, by scipy's account of that distribution."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from compact_bench.methods.registry import load
from compact_bench.student.batch import Batch

METHOD = load().methods["random_weights"]
TEACHERS = ("a", "b", "c")


def batch_of(teacher, seed: int = 0) -> Batch:
    teacher = torch.tensor(teacher)
    empty: list = [[] for _ in teacher]
    return Batch(
        question_id=[str(i) for i in range(len(teacher))],
        questions=["?"] * len(teacher),
        teacher=teacher,
        sample=torch.zeros_like(teacher),
        prompt_ids=empty,
        rationale_ids=empty,
        body_end=empty,
        answer_start=empty,
        answer_ids=empty,
        step_ends=empty,
        open_steps=empty,
        step=0,
        epoch=0,
        generator=torch.Generator().manual_seed(seed),
        teachers=TEACHERS,
    )


def draw(teacher, seed: int = 0, **settings):
    return METHOD(METHOD.Config(**settings)).weights(None, batch_of(teacher, seed))


@pytest.mark.parametrize("concentration", [0.3, 1.0, 5.0])
def test_each_weight_is_beta_distributed(concentration):
    weights = draw([[0, 1, 2]] * 4000, concentration=concentration)
    marginal = stats.beta(concentration, 2 * concentration)
    for k in range(3):
        assert stats.kstest(weights[:, k].double().numpy(), marginal.cdf).pvalue > 1e-3
    variance = stats.dirichlet([concentration] * 3).var()
    assert weights.double().var(0).numpy() == pytest.approx(variance, rel=0.15)


def test_they_sum_to_one_over_what_is_present():
    weights = draw([[0, -1, 2], [-1, 1, -1]])
    assert weights.dtype == torch.float32
    assert torch.allclose(weights.sum(-1), torch.ones(2))
    assert (weights > 0).tolist() == [[True, False, True], [False, True, False]]
    assert float(weights[1, 1]) == 1.0


def test_by_batch_a_teacher_has_one_weight():
    weights = draw([[0, 1, 2], [2, 0, 1], [1, -1, 0]], per="batch")
    assert torch.equal(weights[0], weights[1, [1, 2, 0]])
    ratio = weights[0, 0] / weights[0, 1]
    assert float(weights[2, 2] / weights[2, 0]) == pytest.approx(float(ratio), rel=1e-5)
    by_question = draw([[0, 1, 2]] * 2)
    assert not torch.equal(by_question[0], by_question[1])


def test_the_batchs_generator_decides():
    rows = [[0, 1, 2]]
    assert torch.equal(draw(rows, seed=4), draw(rows, seed=4))
    assert not torch.equal(draw(rows, seed=4), draw(rows, seed=5))
    batch = batch_of(rows)
    method = METHOD()
    assert not torch.equal(method.weights(None, batch), method.weights(None, batch))
