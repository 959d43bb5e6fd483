"""Diverse right rationales, a random pair, and the divergence of its answers."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy

from compact_bench.methods.registry import load
from compact_bench_baselines.mcc_kd import jaccard, most_diverse
from tests.baselines.banks import bank_of, chosen
from tests.models import make_batch, make_student

METHOD = load().methods["mcc_kd"]
TEXTS = st.lists(st.text("ab ", max_size=12), min_size=1, max_size=6)


def make(**settings):
    return METHOD(METHOD.Config(**settings))


def test_jaccard_by_hand():
    assert jaccard("a b c", "b c d", 2) == pytest.approx(1 / 3)  # ab bc | bc cd
    assert jaccard("a b c", "a b c", 3) == 1
    assert jaccard("a b c", "d e f", 1) == 0
    assert jaccard("a b", "c", 3) == 1  # neither has three words: nothing tells them apart
    assert jaccard("a b c", "c", 3) == 0


@given(TEXTS)
def test_the_first_two_are_the_least_alike(texts):
    places = most_diverse(texts, 2, 1)
    if len(texts) <= 2:
        assert places == list(range(len(texts)))
        return
    least = min(jaccard(a, b, 1) for a, b in combinations(texts, 2))
    assert jaccard(texts[places[0]], texts[places[1]], 1) == least


@given(TEXTS, st.integers(2, 6))
def test_as_many_as_asked_for_and_all_different(texts, count):
    places = most_diverse(texts, count, 2)
    assert len(set(places)) == len(places) == min(count, len(texts))


def test_a_copy_goes_before_anything_else():
    assert most_diverse(["a b c d", "a b c d", "e f g h", "i j k l"], 3, 3) in (
        [0, 2, 3],
        [1, 2, 3],
    )


def test_only_right_ones_are_chosen_among():
    rows = [
        ("q0", "ada", "a b c d", "1"),
        ("q0", "bob", "a b c d", "1"),
        ("q0", "cy", "e f g h", "1"),
        ("q0", "dan", "i j k l", "2", False),
        ("q1", "ada", "a b c d", "2", False),
        ("q2", "bob", "a b c d", "1"),
    ]
    kept = chosen(make(keep=2).select(bank_of(rows, ("ada", "bob", "cy", "dan")), None))
    assert kept == [("q0", "ada"), ("q0", "cy"), ("q2", "bob")]


def test_by_default_more_than_a_pair_is_kept_to_draw_from():
    rows = [
        ("q0", name, text, "1")
        for name, text in zip("abcd", ["a b c d", "e f g h", "i j k l", "a b c e"], strict=True)
    ]
    assert len(chosen(make().select(bank_of(rows, tuple("abcd")), None))) == 3


def test_every_pair_is_as_likely():
    batch = make_batch(make_student("llama", "padded").tokenizer)
    method, pairs = make(), Counter()
    for _ in range(600):
        rows = method.rows(batch)
        assert rows[1].tolist() == [True, True, False]
        pairs[tuple(rows[0].nonzero().flatten().tolist())] += 1
    assert set(pairs) == {(0, 1), (0, 2), (1, 2)}
    assert min(pairs.values()) > 150  # 200 expected, standard deviation 12
    only = batch.restrict(torch.tensor([[False, True, False], [False, False, False]]))
    assert torch.equal(method.rows(only), only.present)


def answer_probabilities(student, batch, b, r):
    """(T,V): what the model says at the tokens of the answer and the end, this row alone."""
    prompt, ids = batch.prompt_ids[b], batch.rationale_ids[b][r]
    with torch.no_grad():
        logits = student.causal(torch.tensor([prompt + ids])).logits[0].double()
    first = len(prompt) + batch.answer_start[b][r] - 1
    return torch.softmax(logits[first : len(prompt) + len(ids) - 1], -1).numpy()


@pytest.mark.parametrize("layout", ["padded", "shared"])
@pytest.mark.parametrize("alpha", [0.0, 0.1, 3.0])
def test_the_loss_against_scipys_entropy(layout, alpha):
    student = make_student("llama", layout)
    batch = make_batch(student.tokenizer)
    batch = batch.restrict(torch.tensor([[True, False, True], [True, False, False]]))
    nll = student.forward(batch).nll.detach()
    p, q = (answer_probabilities(student, batch, 0, r) for r in (0, 2))
    divergence = (entropy(p, q, axis=-1).mean() + entropy(q, p, axis=-1).mean()) / 2
    assert divergence > 1e-3  # else the term could be missing unseen
    first = float(nll[0, 0] + nll[0, 2]) / 2 + alpha * divergence
    step = make(alpha=alpha).loss(student, batch)
    expected = (first + float(nll[1, 0])) / 2  # the second question has no pair
    assert float(step.loss.detach()) == pytest.approx(expected, abs=1e-4)
    assert step.logs["divergence"] == pytest.approx(divergence / 2, abs=1e-5)


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 100))
def test_two_rationales_are_read_at_most(seed):
    student = make_student("llama", "padded")
    batch = make_batch(student.tokenizer)
    batch.generator.manual_seed(seed)
    step = make().loss(student, batch)
    assert ((step.weights > 0).sum(-1) == 2).all()
    assert (step.nll[step.weights == 0] == 0).all()
