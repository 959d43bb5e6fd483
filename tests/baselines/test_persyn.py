"""The router against an optimum by scipy, and the rewards that it learns from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from compact_bench.methods.registry import load
from compact_bench_baselines.persyn import bradley_terry
from tests.baselines.banks import bank_of, chosen, layout_bank
from tests.models import make_batch, make_student, row_alone

METHOD = load().methods["persyn"]


def make(**settings):
    return METHOD(METHOD.Config(**settings))


def test_scores_are_those_of_scipys_optimum():
    draw = np.random.default_rng(0)
    states = draw.normal(size=(12, 3))
    wins = [(q, *draw.permutation(3)[:2].tolist()) for q in range(12) for _ in range(3)]
    padded = np.hstack([states, np.ones((12, 1))])

    def loss(x):
        weights = x.reshape(3, 4)
        scores = padded @ weights.T
        margins = np.array([scores[q, i] - scores[q, j] for q, i, j in wins])
        return np.logaddexp(0, -margins).mean() + 0.005 * (weights[:, :3] ** 2).sum()

    best = padded @ minimize(loss, np.zeros(12), tol=1e-12).x.reshape(3, 4).T
    found = bradley_terry(torch.tensor(states), wins, 3).numpy()
    # Only differences within a question are determined.
    assert found - found.mean(1, keepdims=True) == pytest.approx(
        best - best.mean(1, keepdims=True), abs=1e-3
    )
    assert not bradley_terry(torch.tensor(states), [], 3).any()


@pytest.mark.parametrize("quality", [0.0, 0.3, 1.0])
def test_rewards_by_hand(quality):
    student = make_student("llama", "shared")
    batch = make_batch(student.tokenizer)
    right, likelihood, keys = [], [], []
    for b, r in batch.present.nonzero().tolist():
        keys.append((str(b), "abc"[r]))
        right.append(float(keys[-1] != ("0", "b")))
        likelihood.append(-row_alone(student, batch.prompt_ids[b], batch.rationale_ids[b][r]))
    z = [(np.array(x) - np.mean(x)) / np.std(x) for x in (right, likelihood)]
    expected = quality * z[0] + (1 - quality) * z[1]
    found = make(quality=quality)._rewards(layout_bank(), student)
    values = [found[question][name] for question, name in keys]
    assert values == pytest.approx(expected, abs=1e-3)


def routed(share: float):
    """Six questions of two kinds that differ in their text, and so in their state."""
    kinds = ["7 + 5", "Bob lost pens"]
    rows = [
        (f"{kinds[i % 2]} {i}", name, f"It is {i}.", "1", (name == "ada") == (i % 2 == 0))
        for i in range(6)
        for name in ("ada", "bob")
    ]
    bank = bank_of(rows, ("ada", "bob"))
    return dict(
        chosen(make(quality=1.0, share=share).select(bank, make_student("llama", "shared")))
    )


def test_each_kind_of_question_goes_to_the_teacher_that_is_right_on_it():
    found = routed(1.0)
    assert len(found) == 6
    assert all(name == ("ada" if key[0] == "7" else "bob") for key, name in found.items())


def test_questions_without_a_reward_are_routed_too():
    assert len(routed(0.2)) == 6


def test_a_teacher_that_lacks_the_question_stands_back():
    rows = [("q0", "ada", "It is 1.", "1"), ("q0", "bob", "It is 2.", "2", False)]
    rows += [("q1", "bob", "It is 3.", "1", False)]
    bank = bank_of(rows, ("ada", "bob"))
    found = chosen(make(quality=1.0, share=1.0).select(bank, make_student("llama", "shared")))
    assert found == [("q0", "ada"), ("q1", "bob")]
