"""The bandit against its definition, its draws, and its rewards by hand."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compact_bench.methods.registry import load
from compact_bench_baselines.exp3 import rescaled
from tests.models import make_batch, make_student
from tests.trainers import assert_resumes, run, trainer

METHOD = load().methods["exp3"]
GAINS = st.lists(st.floats(-3, 3), min_size=1, max_size=30)


def make(explore: float = 0.07):
    return METHOD(METHOD.Config(explore=explore))


def with_weights(explore: float, weights: list[float]):
    method = make(explore)
    logs = torch.tensor([math.log(w) for w in weights], dtype=torch.float64)
    method.memory = {"log_weights": logs, "gains": torch.zeros(0, dtype=torch.float64)}
    return method


@given(GAINS)
def test_rewards_are_those_of_numpys_quantiles(gains):
    values = torch.tensor(gains, dtype=torch.float64)
    low, high = np.quantile(gains, 0.2), np.quantile(gains, 0.8)
    found = rescaled(values, values)
    assert bool(((found >= 0) & (found <= 1)).all())
    if high - low > 1e-9:
        expected = np.clip((np.array(gains) - low) / (high - low), 0, 1)
        assert found.numpy() == pytest.approx(expected, abs=1e-6)
    elif high == low:
        assert found.tolist() == [0.5] * len(gains)


def test_probabilities_by_hand():
    """Weights 1, 2, 5 and a tenth of exploring; the second question lacks the third teacher."""
    batch = make_batch(make_student("llama", "padded").tokenizer)
    found = with_weights(0.1, [1, 2, 5]).probabilities(batch)
    mixed = [0.9 * w / 8 + 0.1 / 3 for w in (1, 2, 5)]
    assert found[0].tolist() == pytest.approx(mixed)
    pair = mixed[0] + mixed[1]
    assert found[1].tolist() == pytest.approx([mixed[0] / pair, mixed[1] / pair, 0])


def test_draws_follow_the_probabilities():
    batch = make_batch(make_student("llama", "padded").tokenizer)
    method, counts = with_weights(0.1, [1, 2, 5]), Counter()
    for _ in range(600):
        rows = method.rows(batch)
        assert rows.sum(-1).tolist() == [1, 1] and not rows[1, 2]
        counts[int(rows[0].nonzero())] += 1
    for k, share in enumerate(method.probabilities(batch)[0].tolist()):
        assert counts[k] == pytest.approx(600 * share, abs=5 * math.sqrt(600 * share))


def test_samples_share_their_teachers_probability():
    batch = make_batch(make_student("llama", "padded").tokenizer)
    batch.teacher[0, 1] = 0  # two of teacher a, one of c
    method, counts = with_weights(0.1, [1, 1, 1]), Counter()
    assert method.probabilities(batch)[0].tolist() == pytest.approx([0.5, 0.5, 0.5])
    for _ in range(600):
        counts[int(method.rows(batch)[0].nonzero())] += 1
    assert counts[2] == pytest.approx(300, abs=60)


def test_weights_move_by_the_gains_of_the_step_before():
    """Two steps of one epoch on the same questions, the second after the student has moved."""
    student = make_student("llama", "padded")
    method, batch = make(0.3), make_batch(student.tokenizer)
    first = method.backward(student, batch)
    assert first.weights.sum(-1).tolist() == [1, 1]
    drawn = first.weights.argmax(-1).tolist()
    probability = method.probabilities(batch)
    with torch.no_grad():
        for parameter in student.trainable().values():
            parameter.sub_(0.05 * parameter.grad)
        after = student.forward(batch).nll
    tokens = student.cost.selection_tokens
    batch.step = 1
    method.backward(student, batch)
    gains = [float(first.nll[b, k] - after[b, k]) for b, k in enumerate(drawn)]
    assert method.memory["gains"].tolist() == pytest.approx(gains, abs=1e-5)
    assert min(gains) > 0
    low, high = np.quantile(gains, 0.2), np.quantile(gains, 0.8)
    expected = [0.0, 0.0, 0.0]
    for b, k in enumerate(drawn):
        reward = min(max((gains[b] - low) / (high - low), 0), 1)
        expected[k] += 0.3 / 3 * reward / float(probability[b, k])
    assert method.memory["log_weights"].tolist() == pytest.approx(expected, abs=1e-3)
    read = sum(len(batch.prompt_ids[b]) + len(batch.rationale_ids[b][k]) for b, k in
               enumerate(drawn))  # fmt: skip
    assert student.cost.selection_tokens == tokens + read


def test_the_next_epoch_begins_without_a_reward():
    student = make_student("llama", "padded")
    method, batch = make(), make_batch(student.tokenizer)
    method.backward(student, batch)
    batch.step, batch.epoch = 1, 1
    method.backward(student, batch)
    assert not len(method.memory["gains"]) and len(method.pending) == 1


@pytest.mark.parametrize("stop_at", [2, 6])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path, stop_at):
    assert_resumes(lambda folder: trainer(make(0.5), folder=folder), run, tmp_path, stop_at)
