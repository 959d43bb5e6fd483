"""Divergence against forwards of one row without padding, and scipy's entropies."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import rel_entr

from compact_bench.diagnostics.divergence import Divergence, answers, token_nll
from compact_bench.diagnostics.weights import holding


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
