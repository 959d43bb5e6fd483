"""The purifiers that a run has what it takes for, and the reasons of the others."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from compact_bench.methods.registry import load
from compact_bench_baselines.knowledge_purification import plackett_luce
from tests.baselines.banks import chosen, layout_bank, run_of
from tests.models import make_batch, make_student, row_alone

METHOD = load().methods["knowledge_purification"]


def make(variant: str):
    return METHOD(METHOD.Config(variant=variant))


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
    assert [METHOD(config).uses_gold for config in configs] == [False, True, False, False, False]
    assert all(reason.startswith("needs ") for reason in reasons.values() if reason)


def test_two_items_have_the_odds_of_their_wins():
    worth = plackett_luce([("a", "b")] * 3 + [("b", "a")], ("a", "b"))
    assert worth == pytest.approx({"a": 0.75, "b": 0.25})


def likelihood(log_worth, rankings):
    """-log P of all rankings, place by place."""
    total = 0.0
    for ranking in rankings:
        for place in range(len(ranking)):
            rest = [log_worth[name] for name in ranking[place:]]
            total += np.logaddexp.reduce(rest) - log_worth[ranking[place]]
    return total


def test_it_is_the_maximum_of_the_likelihood():
    names = ("a", "b", "c", "d")
    draw = np.random.default_rng(0)
    every = [order for size in (2, 3, 4) for order in permutations(names, size)]
    rankings = [every[i] for i in draw.integers(len(every), size=40)]

    def value(x):
        return likelihood(dict(zip(names, [0.0, *x], strict=True)), rankings)

    expected = np.exp([0.0, *minimize(value, np.zeros(3), tol=1e-10).x])
    worth = plackett_luce(rankings, names)
    assert [worth[name] for name in names] == pytest.approx(expected / expected.sum(), abs=1e-4)


def test_one_that_always_loses_has_no_worth():
    worth = plackett_luce([("a", "b", "c"), ("b", "a", "c")], ("a", "b", "c"))
    assert worth == pytest.approx({"a": 0.5, "b": 0.5, "c": 0.0})


def test_the_teacher_of_highest_worth_is_kept_and_the_next_stands_in():
    student = make_student("llama", "shared")
    batch = make_batch(student.tokenizer)
    encoder = student.encoder
    rankings = []
    for b in range(2):
        nll = {}
        for r, ids in enumerate(batch.rationale_ids[b]):
            prefix = batch.prompt_ids[b] + ids[: batch.body_end[b][r]] + encoder.cue
            nll["abc"[r]] = row_alone(student, prefix, batch.answer_ids[b] + encoder.eos)
        rankings.append(sorted(nll, key=nll.__getitem__))
    worth = plackett_luce(rankings, ("a", "b", "c"))
    expected = [(str(b), max(rankings[b], key=worth.__getitem__)) for b in range(2)]
    assert chosen(make("plackett_luce").select(layout_bank(), student)) == expected


@pytest.mark.parametrize("layout", ["padded", "shared"])
def test_the_rationale_nearest_to_the_question_is_kept(layout):
    student = make_student("llama", layout)
    batch = make_batch(student.tokenizer)

    def state(prefix, target):
        """The mean state over the target's tokens at layer 1 of 2, this row alone."""
        ids = torch.tensor([prefix + target])
        with torch.no_grad():
            hidden = student.causal(ids, output_hidden_states=True).hidden_states[1][0]
        return hidden[len(prefix) :].mean(0).double()

    questions = [state(ids[:1], ids[1:]) for ids in batch.prompt_ids]
    rationales = [
        [state(batch.prompt_ids[b], ids) for ids in batch.rationale_ids[b]] for b in range(2)
    ]
    question_mean = torch.stack(questions).mean(0)
    mean = torch.stack([state for row in rationales for state in row]).mean(0)
    expected = []
    for b in range(2):
        q = questions[b] - question_mean
        cosine = [float(q @ (r - mean) / (q.norm() * (r - mean).norm())) for r in rationales[b]]
        expected.append((str(b), "abc"[cosine.index(max(cosine))]))
    assert chosen(make("similarity").select(layout_bank(), student)) == expected
