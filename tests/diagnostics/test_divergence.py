"""Divergence against forwards of one row without padding, and scipy's entropies."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
import torch
from scipy.special import rel_entr

from compact_bench.diagnostics import divergence
from compact_bench.diagnostics.divergence import Divergence, answers, token_nll
from compact_bench.diagnostics.weights import holding
from compact_bench.student.load import load_student
from compact_bench.suite.sections import StudentSpec
from tests.models import save_tiny


@pytest.fixture
def other(student):
    draw = torch.Generator().manual_seed(1)
    return {
        name: tensor + 0.05 * torch.randn(tensor.shape, generator=draw)
        for name, tensor in student.state_dict().items()
    }


@torch.no_grad()
def chances(student, prompt, target):
    """(A,V): the distributions at the target tokens, of one row alone."""
    logits = student.causal(torch.tensor([[*prompt, *target]])).logits[0].double()
    return logits.softmax(-1)[len(prompt) - 1 : -1].numpy()


def test_the_divergence_is_scipys_relative_entropy(student, prompts, other):
    divergence = Divergence(student, prompts, longest=6)
    assert [list(row[0]) for row in divergence.rows] == prompts
    assert all(1 <= len(target) <= 7 for _, target in divergence.rows)
    before = [chances(student, *row) for row in divergence.rows]
    with holding(student, other):
        found = divergence.of(student)
        after = [chances(student, *row) for row in divergence.rows]
    expected = [rel_entr(p, q).sum(-1).mean() for p, q in zip(before, after, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)
    assert all(value > 0 for value in found)


def test_a_student_does_not_differ_from_itself(student, prompts):
    divergence = Divergence(student, prompts, longest=6)
    np.testing.assert_allclose(divergence.of(student), 0, atol=1e-6)


def test_texts_are_what_the_student_says_first(student, prompts):
    for prompt, target in answers(student, prompts, longest=5):
        best = chances(student, prompt, target).argmax(-1)
        assert best.tolist() == list(target)


def test_token_nll_is_the_models_own_loss(student, prompts):
    rows = [(prompt, student.encoder.ids(" seven.")) for prompt in prompts]
    for found, (prompt, target) in zip(token_nll(student, rows), rows, strict=True):
        ids = torch.tensor([[*prompt, *target]])
        labels = ids.clone()
        labels[:, : len(prompt)] = -100
        with torch.no_grad():
            loss = student.causal(input_ids=ids, labels=labels).loss
        assert np.mean(found) == pytest.approx(float(loss), rel=1e-4)


def test_first_answers_are_written_once_for_the_same_student(student, prompts, monkeypatch):
    """Kept for equal weights, prompts and lengths; written anew where one of them differs."""
    calls: list[int] = []

    def counted(*args):
        calls.append(1)
        return answers(*args)

    monkeypatch.setattr(divergence, "answers", counted)
    monkeypatch.setattr(divergence, "_first_answers", OrderedDict())
    first = divergence.first_answers(student, prompts, 6)
    assert divergence.first_answers(student, prompts, 6) == first == answers(student, prompts, 6)
    assert len(calls) == 1
    divergence.first_answers(student, prompts, 7), divergence.first_answers(student, prompts[:2], 6)
    assert len(calls) == 3
    name, weight = next(iter(student.trainable().items()))
    with holding(student, student.state_dict() | {name: weight.detach() + 0.5}):
        assert divergence.first_answers(student, prompts, 6) == answers(student, prompts, 6)
    assert len(calls) == 4


def test_fresh_adapters_have_one_fingerprint_whatever_their_seed(tmp_path):
    folder = str(save_tiny("llama", tmp_path / "llama"))
    spec = StudentSpec(id=folder, lora={"r": 2, "alpha": 4, "targets": ["q_proj"]})
    one, other = (load_student(spec, seed=seed) for seed in (0, 1))
    assert any(
        not torch.equal(a, b)
        for a, b in zip(one.trainable().values(), other.trainable().values(), strict=True)
    )
    assert divergence.fingerprint(one) == divergence.fingerprint(other)
    ids = torch.tensor([one.encoder.ids("Question: 1 and 2?")])
    with torch.no_grad():
        assert torch.equal(one.causal(ids).logits, other.causal(ids).logits)
        for student in (one, other):
            next(p for n, p in student.trainable().items() if "lora_B" in n).fill_(0.1)
    assert divergence.fingerprint(one) != divergence.fingerprint(other)
