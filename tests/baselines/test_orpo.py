"""ORPO: both terms from likelihoods of single rows, and questions that lack one side."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compact_bench.methods.registry import load
from compact_bench_baselines.orpo import log_odds
from tests.models import make_batch, make_student, row_alone
from tests.trainers import trainer

METHOD = load().methods["orpo"]


def make(**settings):
    return METHOD(METHOD.Config(**settings))


@pytest.mark.parametrize("layout", ["padded", "shared"])
@pytest.mark.parametrize("mix", [0.1, 2.0])
def test_the_loss_is_the_one_of_the_paper_over_all_pairs(layout, mix):
    student = make_student("llama", layout)
    batch = make_batch(student.tokenizer)
    nll = [
        [row_alone(student, batch.prompt_ids[b], ids) for ids in batch.rationale_ids[b]]
        for b in range(2)
    ]
    odds = [math.exp(-value) / (1 - math.exp(-value)) for value in nll[0]]
    # Question 0 is right, wrong, right; question 1 has no wrong one.
    ratios = [odds[0] / odds[1], odds[2] / odds[1]]
    preference = sum(-math.log(ratio / (1 + ratio)) for ratio in ratios) / 2
    expected = (nll[0][0] + nll[0][2]) / 2 + mix * preference + sum(nll[1]) / 2
    step = make(mix=mix).loss(student, batch)
    assert float(step.loss.detach()) == pytest.approx(expected / 2, rel=1e-4)
    assert step.logs["odds_ratio_loss"] == pytest.approx(preference / 2, rel=1e-3)
    assert step.weights.tolist() == [[0.5, 0.0, 0.5], [0.5, 0.5, 0.0]]


def test_a_question_without_a_right_rationale_is_left_out():
    student = make_student("llama", "shared")
    batch = make_batch(student.tokenizer)
    batch.gold[0] = "99"
    step = make().loss(student, batch)
    alone = [row_alone(student, batch.prompt_ids[1], ids) for ids in batch.rationale_ids[1]]
    assert float(step.loss.detach()) == pytest.approx(sum(alone) / 4, rel=1e-4)
    assert not step.weights[0].any() and not step.nll[0].any()
    batch.gold[1], before = "99", student.cost.tokens
    assert float(make().backward(student, batch).loss) == 0 and student.cost.tokens == before


@given(st.floats(1e-4, 30))
def test_the_odds_are_those_of_the_likelihood(nll):
    p = math.exp(-nll)
    expected = math.log(p) - math.log1p(-p)
    assert float(log_odds(torch.tensor(nll, dtype=torch.float64))) == pytest.approx(expected)
    assert math.isfinite(float(log_odds(torch.zeros(()))))


def test_it_trains_adapters_too():
    made = trainer(make(), lora=True)
    before = made.student.state_dict()
    made.distiller.fit(made)
    assert any(not torch.equal(p, before[n]) for n, p in made.student.state_dict().items())
