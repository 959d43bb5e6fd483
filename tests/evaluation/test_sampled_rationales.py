"""Sampled rationales: the marginal NLL against enumeration, and which answer has the majority."""

from __future__ import annotations

import copy
import math
import random
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from compact_bench.evaluation import sampled_rationales
from compact_bench.evaluation.sampled_rationales import (
    Sampled,
    answer_log_chances,
    jackknife,
    majority,
    negative_log_mean_exp,
    sample,
    votes,
)
from compact_bench.student.encode import Encoder
from compact_bench.student.generation import prefill
from tests.tiny_student import byte_tokenizer, taught_student

WORDS = ["<eos>", "<unk>", "Question:", "Answer:", "The", "answer", "is", "yes", "no", "up", "down"]
CUE_IDS = [4, 5, 6]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """One token a word."""
    inner = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.decoder = decoders.WordPiece(prefix="##", cleanup=False)  # words with spaces between
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>", unk_token="<unk>")


@pytest.fixture(scope="module")
def student() -> LlamaForCausalLM:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(WORDS),
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=1,
                max_position_embeddings=64,
                eos_token_id=0,
                bos_token_id=None,
                pad_token_id=0,
            )
        )
        torch.nn.init.normal_(model.lm_head.weight, std=0.7)
    return model.eval().double()


def log_chance(model: LlamaForCausalLM, before: list[int], after: list[int]) -> float:
    """log p(after | before) of one row, without cache or padding."""
    with torch.no_grad():
        logits = model(torch.tensor([before + after])).logits[0].log_softmax(-1)
    return sum(float(logits[len(before) - 1 + i, token]) for i, token in enumerate(after))


@pytest.mark.parametrize("scale", [0.0, -5.0, -2000.0])
def test_negative_log_mean_exp_equals_scipys(scale):
    values = [scale + v for v in (-0.3, -1.2, 0.0, -7.0)]
    expected = -(logsumexp(values) - math.log(len(values)))
    assert negative_log_mean_exp(values) == pytest.approx(expected, rel=1e-12)


def test_negative_log_mean_exp_of_the_impossible():
    assert negative_log_mean_exp([-math.inf, -math.inf]) == math.inf
    assert negative_log_mean_exp([-math.inf, 0.0]) == pytest.approx(math.log(2))


@given(st.lists(st.floats(-9, 0), min_size=2, max_size=12), st.floats(-800, 0))
def test_the_jackknife_leaves_each_draw_out(logs, shift):
    whole = math.log(len(logs)) - logsumexp(logs)
    others = [np.delete(logs, m) for m in range(len(logs))]
    each = [math.log(len(rest)) - logsumexp(rest) for rest in others]
    variance, bias = jackknife([value + shift for value in logs])  # a factor only moves -log
    assert variance == pytest.approx((len(logs) - 1) * np.var(each), abs=1e-9)
    assert bias == pytest.approx((len(logs) - 1) * (np.mean(each) - whole), abs=1e-9)


def test_the_jackknife_is_right_over_many_draws():
    """Of chances of a known mean, so that noise and bias of the NLL are known by repetition."""
    draw = np.random.default_rng(0)
    chances = draw.beta(0.5, 1.5, size=(3000, 32))
    found = [negative_log_mean_exp(row) for row in np.log(chances)]
    variances, biases = zip(*map(jackknife, np.log(chances)), strict=True)
    true_bias = np.mean(found) + math.log(0.25)
    assert np.mean(variances) == pytest.approx(np.var(found), rel=0.15)
    assert true_bias > 0 and np.mean(biases) == pytest.approx(true_bias, rel=0.5)


def test_one_draw_says_nothing_of_its_noise():
    assert all(map(math.isnan, jackknife([-1.0])))
    assert all(map(math.isnan, jackknife([-1.0, -math.inf])))


def test_students_draw_by_common_random_numbers(student, tokenizer):
    """Rows differ by what they learned and not by luck: of alike students, alike rationales."""
    encoder = Encoder(tokenizer)
    items = [(encoder.ids(f"Question: {q} Answer:"), "yes") for q in ("up", "down up", "no")]
    other = copy.deepcopy(student)
    with torch.no_grad():
        other.lm_head.weight.mul_(1 + 1e-9)
    options = {"samples": 8, "max_new_tokens": 5, "batch_size": 8}
    first, second, apart = (
        sample(model, encoder, items, seed=seed, **options)
        for model, seed in ((student, 2), (other, 2), (other, 3))
    )
    assert [item.rationales for item in first] == [item.rationales for item in second]
    assert [item.rationales for item in first] != [item.rationales for item in apart]


def test_answer_chances_in_a_padded_batch(student, tokenizer):
    encoder = Encoder(tokenizer)
    prompts = [encoder.ids("Question: up down Answer:"), encoder.ids("Question: Answer:")]
    bodies, answers = ["up up down", ""], ["yes", "no no"]
    found = answer_log_chances(student, encoder, prefill(student, prompts), bodies, answers)
    for prompt, body, answer, value in zip(prompts, bodies, answers, found, strict=True):
        before = prompt + encoder.ids(body) + CUE_IDS
        assert value == pytest.approx(log_chance(student, before, encoder.ids(answer)), abs=1e-9)


def test_marginal_equals_the_enumerated_one(student, tokenizer):
    """Rationales of at most one token: p(answer) = sum_r p(r) p(answer | r, cue), exactly."""
    encoder = Encoder(tokenizer)
    prompt = encoder.ids("Question: up Answer:")
    gold = encoder.ids("yes")
    exact = 0.0
    for token in range(len(WORDS)):
        # The end, an unknown word and the next question leave nothing written.
        body = [] if token in (0, 1, 2) else [token]
        chance = log_chance(student, prompt, [token])
        exact += math.exp(chance + log_chance(student, prompt + body + CUE_IDS, gold))
    samples = 4000
    (item,) = sample(
        student,
        encoder,
        [(prompt, "yes")],
        samples=samples,
        max_new_tokens=1,
        batch_size=16,
        seed=3,
    )
    assert item.nll == pytest.approx(-math.log(exact), abs=0.02)


def test_sampled_rationales_are_cut_before_the_cue(student, tokenizer, monkeypatch):
    """Whatever the student writes, the scored text holds the cue once, before the gold answer."""
    seen: list[str] = []
    original = answer_log_chances

    def spy(model, encoder, prefix, bodies, answers):
        seen.extend(bodies)
        return original(model, encoder, prefix, bodies, answers)

    monkeypatch.setattr(sampled_rationales, "answer_log_chances", spy)
    monkeypatch.setattr(sampled_rationales, "CUE", " up")  # a cue that this student writes often
    encoder = Encoder(tokenizer)
    items = [(encoder.ids("Question: down Answer:"), "no")]
    sample(student, encoder, items, samples=50, max_new_tokens=6, batch_size=8, seed=0)
    assert len(seen) == 50 and all("up" not in body for body in seen)
    assert len({len(body.split()) for body in seen}) > 1


def test_seeded_and_apart_from_the_global_state(student, tokenizer):
    encoder = Encoder(tokenizer)
    asked = {"up": "yes", "no up": "no"}
    items = [(encoder.ids(f"Question: {q} Answer:"), a) for q, a in asked.items()]
    options = {"samples": 3, "max_new_tokens": 5, "batch_size": 6}
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    first = sample(student, encoder, items, seed=7, **options)
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    assert before == after
    assert sample(student, encoder, items, seed=7, **options) == first
    assert sample(student, encoder, items, seed=8, **options) != first
    # Neither the batch nor what else is asked decides what is drawn for a question.
    for size in (1, 3, 60):
        other = sample(student, encoder, items, seed=7, **(options | {"batch_size": size}))
        assert [item.rationales for item in other] == [item.rationales for item in first]
        assert [item.nll for item in other] == pytest.approx([item.nll for item in first], abs=1e-9)
    (alone,) = sample(student, encoder, items[:1], seed=7, **options)
    assert alone.rationales == first[0].rationales


@pytest.mark.parametrize(
    ("answers", "kind", "expected"),
    [
        (["7", "12", "7.0"], "number", "7"),
        ([None, None, "3"], "number", "3"),
        ([None, None], "number", None),
        ([], "number", None),
        (["4", "5", "5", "4"], "number", "4"),  # as often: the first
        (["yes", "no", "no"], "boolean", "no"),
        (["b", "B", "C"], "choice", "B"),
    ],
)
def test_the_commonest_answer_wins(answers, kind, expected):
    assert majority(answers, kind) == expected


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12))
def test_no_answer_is_commoner_than_the_majority(numbers):
    found = majority([str(number) for number in numbers], "number")
    assert Counter(numbers)[int(found)] == max(Counter(numbers).values())


def test_answers_are_written_after_the_rationale():
    tokenizer = byte_tokenizer()
    encoder = Encoder(tokenizer)
    prompt = encoder.prompt("1 and 2?")
    item = Sampled(prompt, ("one, two", "one, two"), nll=0.0)
    found = votes(taught_student(tokenizer), encoder, [item], ["number"], 8)
    assert found == [["3", "3"]]
