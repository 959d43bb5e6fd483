"""Rank over surprisal, by brute force over the model's own logits."""

from __future__ import annotations

import pytest
import torch
from scipy.special import softmax

from compact_bench.methods.registry import load
from compact_bench_baselines.rank_surprisal import rank_surprisal
from tests.baselines.banks import chosen, layout_bank
from tests.models import make_batch, make_student

METHOD = load().methods["rank_surprisal"]


def make(**settings):
    return METHOD(METHOD.Config(**settings))


def by_brute_force(student, batch, b, r, highest):
    """The ratio with ranks from sorting, this row alone."""
    prompt, ids = batch.prompt_ids[b], batch.rationale_ids[b][r]
    with torch.no_grad():
        logits = student.causal(torch.tensor([prompt + ids])).logits[0].double()
    ranks, surprisal = 0.0, 0.0
    for t, token in enumerate(ids):
        scores = logits[len(prompt) - 1 + t]
        order = sorted(range(len(scores)), key=lambda v, scores=scores: -float(scores[v]))
        ranks += min(order.index(token) + 1, highest)
        surprisal -= float(torch.log_softmax(scores, -1)[token])
    return ranks / surprisal


def test_by_hand():
    rank = torch.tensor([[[1, 500, 3, 0]]])
    nll = torch.tensor([[[0.5, 6.0, 1.5, 0.0]]])
    assert float(rank_surprisal(rank, nll, 100)) == pytest.approx((1 + 100 + 3) / 8)
    assert float(rank_surprisal(rank, nll, 2)) == pytest.approx(5 / 8)


@pytest.mark.parametrize("highest", [100, 20])
def test_the_lowest_ratio_of_each_question_is_kept(highest):
    student = make_student("llama", "shared")
    batch = make_batch(student.tokenizer)
    method = make(highest_rank=highest)
    kept = method.select(layout_bank(), student)
    expected = {
        (batch.question_id[b], "abc"[r], 0): by_brute_force(student, batch, b, r, highest)
        for b, r in batch.present.nonzero().tolist()
    }
    assert method.scores == pytest.approx(expected, rel=1e-4)
    best = {}
    for (question, teacher, _), value in expected.items():
        best.setdefault(question, []).append((value, teacher))
    assert chosen(kept) == [(question, min(found)[1]) for question, found in best.items()]


def test_soft_weights_are_a_softmax_of_the_scores():
    student = make_student("llama", "shared")
    method = make(choice="soft", temperature=0.2)
    assert len(method.select(layout_bank(), student).rationales) == 5
    batch = make_batch(student.tokenizer)
    step = method.loss(student, batch)
    scores = [method.scores["0", teacher, 0] for teacher in "abc"]
    expected = softmax([-x / 0.2 for x in scores])
    assert step.weights[0].numpy() == pytest.approx(expected, abs=1e-5)
    assert float(step.weights[1, 2]) == 0
    assert float(step.loss.detach()) == pytest.approx(
        float((step.weights * step.nll).sum(-1).mean()), abs=1e-6
    )
    less = batch.restrict(torch.tensor([[True, False, True], [False, True, False]]))
    weights = method.weights(None, less)
    assert weights[0].numpy() == pytest.approx(
        [expected[0] / (1 - expected[1]), 0.0, expected[2] / (1 - expected[1])], abs=1e-5
    )
    assert weights[1].tolist() == [0.0, 1.0, 0.0]


def test_the_choice_is_in_the_label():
    assert make(choice="soft").label == "rank_surprisal[soft]"
