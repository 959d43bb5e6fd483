"""Decoding and likelihoods against forwards of one row without a cache."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from compact_bench.student.generation import (
    Stops,
    batches,
    continue_with,
    decode,
    end_ids,
    generate,
    prefill,
)
from tests.tiny_student import GOLD, LIMIT, byte_tokenizer, taught_student


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return byte_tokenizer()


@pytest.fixture(scope="module")
def student(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    return taught_student(tokenizer)


def test_limits_do_not_depend_on_the_batch(student, tokenizer):
    prompts = [tokenizer(f"Question: {q}\nAnswer:")["input_ids"] for q in GOLD]
    stops = Stops(tokenizer, ("Question:",), end_ids(student, tokenizer))
    alone = generate(student, prompts, stops, max_new_tokens=LIMIT, batch_size=1)
    assert generate(student, prompts, stops, max_new_tokens=LIMIT, batch_size=5) == alone


def test_generation_settings_of_the_model_do_not_count(student, tokenizer):
    prompts = [tokenizer("Question: 6 and 1 ?\nAnswer:")["input_ids"]]
    stops = Stops(tokenizer, (), end_ids(student, tokenizer))
    before = generate(student, prompts, stops, max_new_tokens=9, batch_size=1)
    student.generation_config.repetition_penalty = 3.0
    try:
        after = generate(student, prompts, stops, max_new_tokens=9, batch_size=1)
    finally:
        student.generation_config.repetition_penalty = None
    assert after == before


def windowed_student() -> Gemma3ForCausalLM:
    """A Gemma with a window shorter than the rows."""
    torch.manual_seed(3)
    config = Gemma3TextConfig(
        vocab_size=60,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        sliding_window=6,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        eos_token_id=59,
        pad_token_id=0,
    )
    model = Gemma3ForCausalLM(config).eval()
    torch.nn.init.normal_(model.get_input_embeddings().weight, std=1.0)
    return model


PROMPTS = [list(range(1, 20)), [5, 6, 7], [40, 2, 9, 9, 31, 8, 7, 1, 50]]


@torch.no_grad()
def test_sliding_window_decoding():
    model = windowed_student()
    rows = decode(model, prefill(model, PROMPTS), Stops(byte_tokenizer()), 12)
    for prompt, row in zip(PROMPTS, rows, strict=True):
        text = list(prompt)
        for _ in range(12):
            text.append(int(model(torch.tensor([text])).logits[0, -1].argmax()))
        assert list(row.ids) == text[len(prompt) :]


@torch.no_grad()
def test_sliding_window_branches():
    """Several continuations of one prompt, of unlike lengths, longer than the window or not."""
    model = windowed_student()
    owners = [0, 0, 1, 2, 2]
    rows = [[3], list(range(20, 32)), [8, 9], [11] * 9, [7, 30, 2]]
    starts = [0, 10, 1, 0, 0]
    found = continue_with(model, prefill(model, PROMPTS).taken(owners), rows, starts)
    for owner, row, start, (value, _) in zip(owners, rows, starts, found, strict=True):
        before = PROMPTS[owner]
        logits = model(torch.tensor([before + row])).logits[0].log_softmax(-1)
        at = len(before) - 1
        expected = sum(float(logits[at + t, row[t]]) for t in range(start, len(row)))
        assert value == pytest.approx(expected, abs=1e-4)


def test_batches_are_sorted_and_complete():
    assert list(batches([3, 9, 5, 9], 2)) == [[1, 3], [2, 0]]


def test_stop_strings_and_partial_characters(tokenizer):
    stops = Stops(tokenizer, ("é!", "Question:"))
    ids = tokenizer("caf\u00e9!")["input_ids"]
    assert not any(stops.hit(ids[: i + 1]) for i in range(len(ids) - 1))
    assert stops.hit(ids)
    assert stops.cut("abQuestion: cé!d") == "ab"
