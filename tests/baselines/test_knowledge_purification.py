"""The purifiers that a run has what it takes for, and the reasons of the others."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from compact_bench.methods.registry import load
from compact_bench_baselines.knowledge_purification import (
    embedding_scores,
    plackett_luce,
    weighted_worths,
)
from tests.baselines.banks import chosen, layout_bank, run_of
from tests.models import make_batch, make_student, row_alone

METHOD = load().methods["knowledge_purification"]


def make(variant: str, **settings):
    return METHOD(METHOD.Config(variant=variant, **settings))


def one_fit(rankings, items):
    """The worths where every ranking counts once."""
    return plackett_luce(torch.ones(1, len(rankings), dtype=torch.float64), rankings, items)[0]


def test_a_row_for_each_variant():
    configs = METHOD.variants(METHOD.Config(), ["a"])
    assert len({config.variant for config in configs}) == 5
    assert METHOD.variants(make("similarity").config, ["a"]) == [make("similarity").config]
    assert make("rl").label == "knowledge_purification[rl]"
    reasons = {config.variant: METHOD(config).skip(run_of(layout_bank())) for config in configs}
    assert {name for name, reason in reasons.items() if reason is None} == {
        "similarity",
        "plackett_luce",
    }
    assert all(METHOD(config).uses_gold for config in configs)
    assert all(reason.startswith("needs ") for reason in reasons.values() if reason)


def test_two_items_have_the_odds_of_their_wins():
    assert one_fit([(0, 1)] * 3 + [(1, 0)], 2).tolist() == pytest.approx([0.75, 0.25])


def likelihood(log_worth, rankings, weights):
    """-log P of all rankings, place by place."""
    total = 0.0
    for ranking, weight in zip(rankings, weights, strict=True):
        for place in range(len(ranking)):
            rest = [log_worth[name] for name in ranking[place:]]
            total += weight * (np.logaddexp.reduce(rest) - log_worth[ranking[place]])
    return total


def test_it_is_the_maximum_of_the_weighted_likelihood():
    draw = np.random.default_rng(0)
    every = [order for size in (2, 3, 4) for order in permutations(range(4), size)]
    rankings = [every[i] for i in draw.integers(len(every), size=40)]
    weights = draw.uniform(1, 100, size=(2, 40))
    found = plackett_luce(torch.tensor(weights), rankings, 4)
    for row, own in zip(found.tolist(), weights, strict=True):
        best = minimize(
            lambda x, own=own: likelihood([0.0, *x], rankings, own / own.sum()),
            np.zeros(3),
            tol=1e-12,
        )
        expected = np.exp([0.0, *best.x])
        assert row == pytest.approx(expected / expected.sum(), abs=1e-3)


def test_one_that_always_loses_has_no_worth():
    assert one_fit([(0, 1, 2), (1, 0, 2)], 3).tolist() == pytest.approx([0.5, 0.5, 0.0])


def two_kinds():
    """Twenty questions in two clusters; in each another teacher is first, of a fifth by chance."""
    draw = torch.Generator().manual_seed(0)
    centre = torch.tensor([[1.0, 0, 0], [-1.0, 0, 0]], dtype=torch.float64).repeat(10, 1)
    states = centre + 0.3 * torch.randn(20, 3, generator=draw, dtype=torch.float64)
    states = torch.nn.functional.normalize(states, dim=-1)
    rankings = [(0, 1, 2) if i % 2 == 0 else (1, 0, 2) for i in range(20)]
    for noisy in (2, 9):
        rankings[noisy] = (2, *rankings[noisy][:2])
    return states, rankings


@pytest.mark.parametrize("score", [embedding_scores, weighted_worths])
def test_the_named_teacher_depends_on_the_question(score):
    """Which one worth for all questions can't do: here it would name the same teacher always."""
    states, rankings = two_kinds()
    named = score(states, rankings, 3).argmax(-1).tolist()
    assert named == [i % 2 for i in range(20)]


def test_a_ranking_counts_by_the_similarity_of_its_question():
    """Two questions: its own ranking counts 100, that of cosine 0 counts 10, by RouteLLM."""
    states = torch.eye(2, dtype=torch.float64)
    found = weighted_worths(states, [(0, 1), (1, 0)], 2)
    assert found.tolist() == pytest.approx(np.array([[100, 10], [10, 100]]) / 110, abs=1e-9)


def test_embeddings_minimise_the_loss_between_questions_and_teachers():
    states, rankings = two_kinds()
    found = embedding_scores(states, rankings, 3).numpy()
    first = [ranking[0] for ranking in rankings]

    def loss(cosines):
        return np.mean(np.logaddexp.reduce(cosines, axis=1) - cosines[range(20), first])

    def of(x):
        e = x.reshape(3, 3)
        return loss(states.numpy() @ (e / np.linalg.norm(e, axis=1, keepdims=True)).T)

    starts = np.random.default_rng(0).normal(size=(5, 9))
    assert loss(found) == pytest.approx(min(minimize(of, x).fun for x in starts), abs=1e-4)


@pytest.mark.parametrize("variant", ["similarity", "plackett_luce"])
@pytest.mark.parametrize("layout", ["padded", "shared"])
def test_one_of_each_questions_rationales_is_kept_by_the_students_rankings(variant, layout):
    student = make_student("llama", layout)
    batch = make_batch(student.tokenizer)
    encoder = student.encoder
    rankings, states = [], []
    for b, prompt in enumerate(batch.prompt_ids):
        nll = {}
        for r, ids in enumerate(batch.rationale_ids[b]):
            prefix = prompt + ids[: batch.body_end[b][r]] + encoder.cue
            nll[r] = row_alone(student, prefix, batch.answer_ids[b] + encoder.eos)
        rankings.append(tuple(sorted(nll, key=nll.__getitem__)))
        with torch.no_grad():
            hidden = student.causal(torch.tensor([prompt]), output_hidden_states=True)
        states.append(hidden.hidden_states[1][0, 1:].mean(0).double())
    centred = torch.stack(states) - torch.stack(states).mean(0)
    unit = torch.nn.functional.normalize(centred, dim=-1)
    score = {"similarity": embedding_scores, "plackett_luce": weighted_worths}[variant]
    scores = score(unit, rankings, 3).tolist()
    expected = [(str(b), "abc"[max(rankings[b], key=scores[b].__getitem__)]) for b in range(2)]
    assert chosen(make(variant).select(layout_bank(), student)) == expected


def test_the_loss_has_two_terms():
    student = make_student("llama", "shared")
    batch = make_batch(student.tokenizer)
    batch = batch.restrict(torch.tensor([[False, True, False], [True, False, False]]))
    encoder, expected = student.encoder, []
    for b, r in ((0, 1), (1, 0)):
        question = batch.questions[b]
        body = batch.rationale_ids[b][r][: batch.body_end[b][r]]
        gold = encoder.ids(" The answer is") + batch.answer_ids[b] + encoder.eos
        answer = row_alone(student, encoder.prompt(question, "predict"), gold)
        rationale = row_alone(student, encoder.prompt(question, "explain"), body + encoder.eos)
        expected.append(answer + 0.5 * rationale)
    step = make("similarity", mix=0.5).loss(student, batch)
    assert float(step.loss.detach()) == pytest.approx(sum(expected) / 2, abs=1e-5)
    assert make("similarity").decoding().prompt == "predict"
