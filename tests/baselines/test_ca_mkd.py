"""Confidence weights by hand, and where they come from."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from compact_bench.methods.registry import load
from compact_bench_baselines.ca_mkd import confidence_weights
from tests.models import make_batch, make_student, row_alone

METHOD = load().methods["ca_mkd"]
VALUES = st.lists(st.floats(0, 20, width=32), min_size=2, max_size=6)


@given(VALUES)
def test_against_the_papers_formula(values):
    c = torch.tensor([values])
    weights = confidence_weights(c, torch.ones_like(c, dtype=torch.bool))[0]
    k = len(values)
    assert weights.numpy() == pytest.approx((1 - softmax(values)) / (k - 1), abs=1e-5)
    assert float(weights.sum()) == pytest.approx(1, abs=1e-5)
    assert float(weights.max()) <= 1 / (k - 1) + 1e-6


@given(VALUES, st.randoms())
def test_a_permutation_of_rationales_permutes_the_weights(values, random):
    order = list(range(len(values)))
    random.shuffle(order)
    c, present = torch.tensor([values]), torch.ones(1, len(values), dtype=torch.bool)
    weights = confidence_weights(c, present)
    assert torch.allclose(confidence_weights(c[:, order], present), weights[:, order], atol=1e-6)


def test_the_surer_the_heavier_and_absent_ones_have_none():
    c = torch.tensor([[0.1, 2.0, 9.9], [3.0, 1.0, 0.0]])
    present = torch.tensor([[True, True, False], [False, True, False]])
    weights = confidence_weights(c, present)
    share = softmax([0.1, 2.0])
    assert weights[0].tolist() == pytest.approx([share[1], share[0], 0.0], abs=1e-6)  # K = 2
    assert weights[1].tolist() == [0.0, 1.0, 0.0]
    assert confidence_weights(c, torch.zeros_like(present)).abs().sum() == 0


@pytest.mark.parametrize("layout", ["padded", "shared"])
def test_confidence_is_the_gold_answers_nll_after_the_rationale(layout):
    student = make_student("llama", layout)
    batch = make_batch(student.tokenizer)
    step = METHOD().loss(student, batch)
    encoder = student.encoder
    for b, r in batch.present.nonzero().tolist():
        body = batch.rationale_ids[b][r][: batch.body_end[b][r]]
        prefix = batch.prompt_ids[b] + body + encoder.ids(" The answer is")
        alone = row_alone(student, prefix, batch.answer_ids[b] + encoder.eos)
        assert float(step.scores["answer_nll"][b, r]) == pytest.approx(alone, abs=1e-5)
    assert step.scores["answer_nll"][1, 2].isnan()
    assert step.weights[0].numpy() == pytest.approx(
        (1 - softmax(step.scores["answer_nll"][0].numpy())) / 2, abs=1e-6
    )
    assert float(step.loss.detach()) == pytest.approx(
        float((step.weights * step.nll).sum(-1).mean()), abs=1e-6
    )


def test_the_weights_carry_no_gradient_and_the_second_forward_is_counted():
    student = make_student("llama", "padded")
    batch = make_batch(student.tokenizer)
    step = METHOD().loss(student, batch)
    step.loss.backward()
    found = torch.cat([p.grad.flatten() for p in student.trainable().values()])
    other = make_student("llama", "padded")
    (other.forward(batch).nll * step.weights).sum(-1).mean().backward()
    expected = torch.cat([p.grad.flatten() for p in other.trainable().values()])
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert student.cost.supervised_tokens == other.cost.supervised_tokens
    assert student.cost.tokens > 1.5 * other.cost.tokens
