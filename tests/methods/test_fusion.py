"""Normalising and fusing: what the weights must be, whatever the scores."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import special
from scipy import stats as distributions

from compact_bench.methods import fusion

NAN = float("nan")
SCORES = st.lists(st.floats(-5, 5), min_size=1, max_size=6)


def row(values: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    score = torch.tensor([values], dtype=torch.float32)
    return score, torch.ones_like(score, dtype=torch.bool)


@given(SCORES, st.floats(0.1, 10), st.integers(0, 3))
def test_masked_softmax_is_scipy_s_over_what_is_present(values, temperature, absent):
    score, present = row(values + [9.0] * absent)
    present[0, len(values) :] = False
    found = fusion.masked_softmax(score, present, temperature)[0]
    expected = special.softmax([value / temperature for value in values])
    assert found[: len(values)].tolist() == pytest.approx(expected.tolist(), abs=1e-5)
    assert (found[len(values) :] == 0).all()


def test_nothing_present_gives_no_weight_and_no_nan():
    found = fusion.masked_softmax(torch.zeros(1, 3), torch.zeros(1, 3, dtype=torch.bool))
    assert found.tolist() == [[0.0, 0.0, 0.0]]


@given(SCORES, st.floats(0, 0.9))
def test_the_floor_bounds_every_weight_and_keeps_the_sum(values, floor):
    score, present = row(values)
    weights = fusion.with_floor(fusion.masked_softmax(score, present, 0.1), present, floor)
    assert float(weights.sum()) == pytest.approx(1, abs=1e-5)
    assert float(weights.min()) >= floor / len(values) - 1e-6


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=6))
def test_variances_and_z_are_the_textbook_s(values):
    score, present = row(values)
    variance = fusion.variances(score, present)
    assert float(variance) == pytest.approx(
        float(torch.tensor(values, dtype=torch.float64).var()), rel=1e-3, abs=1e-4
    )
    found = fusion.scaled_within(score, present)[0]
    spread = float(variance) ** 0.5
    if spread > 0.1:
        expected = distributions.zscore(values, ddof=1) * spread / (spread + 1e-4)
        assert found.tolist() == pytest.approx(expected.tolist(), abs=1e-3)


def test_missing_scores_are_neutral():
    score, present = row([1.0, NAN, 3.0])
    assert fusion.centred(score, present)[0].tolist() == [-1.0, 0.0, 1.0]
    assert fusion.scaled(score, present, 0.1, 2.0)[0].tolist() == [-2.0, 0.0, 2.0]
    lone, _ = row([NAN, NAN, 3.0])
    assert fusion.centred(lone, present)[0].tolist() == [0.0, 0.0, 0.0]
    assert len(fusion.variances(lone, present)) == 0


@given(SCORES, st.integers(0, 1000))
def test_the_level_between_questions_cancels(values, seed):
    score, present = row(values)
    shift = float(seed) / 100
    moved = fusion.scaled(score + shift, present, 0.7, 2.0)
    assert torch.allclose(moved, fusion.scaled(score, present, 0.7, 2.0), atol=1e-4)


def test_no_spread_seen_yet_says_nothing():
    score, present = row([1.0, 2.0])
    assert fusion.scaled(score, present, 0.0, 2.0).tolist() == [[0.0, 0.0]]


def test_infinite_scores_are_refused():
    score, present = row([1.0, float("inf")])
    with pytest.raises(ValueError, match="a score is infinite"):
        fusion.centred(score, present)


@given(SCORES)
def test_the_effective_number_is_exp_of_scipy_s_entropy(values):
    score, present = row(values)
    weights = fusion.masked_softmax(score, present)
    expected = float(distributions.entropy(weights[0].double().numpy()))
    assert float(fusion.effective_number(weights).log()) == pytest.approx(expected, abs=1e-4)


def test_equal_weights_count_all():
    weights = torch.tensor([[0.25] * 4, [1.0, 0, 0, 0]])
    assert fusion.effective_number(weights).tolist() == pytest.approx([4.0, 1.0])


def test_consistency_is_scipy_s_symmetric_divergence():
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 7, generator=draw, dtype=torch.float64)
    real = torch.tensor([[True] * 4, [True, True, True, False], [True, False, False, False]])
    weights = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    p = torch.softmax(logits, -1).numpy()
    expected = 0.0
    for i in range(3):
        for j in range(i):
            both = [t for t in range(4) if real[i, t] and real[j, t]]
            terms = [
                distributions.entropy(p[i, t], p[j, t]) + distributions.entropy(p[j, t], p[i, t])
                for t in both
            ]
            expected += float(weights[i] * weights[j]) * sum(terms) / len(both)
    assert float(fusion.consistency(logits, real, weights, 1e-4)) == pytest.approx(expected)


def test_a_large_consistency_term_is_computed_twice_and_has_the_same_gradient(monkeypatch):
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 7, generator=draw, dtype=torch.float64, requires_grad=True)
    real = torch.tensor([[True] * 4, [True, True, True, False], [True, False, False, False]])
    found = []
    for large in (10**9, 0):
        monkeypatch.setattr(fusion, "LARGE", large)
        value = fusion.consistency(logits, real, torch.tensor([0.5, 0.3, 0.2]), 1e-4)
        found.append((value.detach(), *torch.autograd.grad(value, logits)))
    torch.testing.assert_close(*found)
    assert found[0][1].abs().sum() > 0


@given(st.integers(0, 500), st.floats(0.5, 4))
def test_token_divergence_is_the_mean_relative_entropy(seed, temperature):
    draw = torch.Generator().manual_seed(seed)
    reference, logits = torch.randn(2, 2, 2, 3, 5, generator=draw)
    lengths = torch.tensor([[3, 1], [2, 0]])
    found = fusion.token_divergence(reference, logits, lengths, temperature)
    for b in range(2):
        for r in range(2):
            values = [
                distributions.entropy(
                    special.softmax(reference[b, r, t].numpy() / temperature),
                    special.softmax(logits[b, r, t].numpy() / temperature),
                )
                for t in range(int(lengths[b, r]))
            ]
            expected = sum(values) / len(values) if values else 0.0
            assert float(found[b, r]) == pytest.approx(expected, abs=1e-5)


def test_token_divergence_compares_the_tokens_of_both():
    logits = torch.randn(1, 1, 3, 5, generator=torch.Generator().manual_seed(0))
    padded = torch.cat([logits, torch.full((1, 1, 3, 2), 9.0)], -1)
    lengths = torch.tensor([[3]])
    for pair in ((padded, logits), (logits, padded)):
        assert float(fusion.token_divergence(*pair, lengths)) == pytest.approx(0, abs=1e-6)
