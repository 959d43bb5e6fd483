"""Tiny models with random weights that stand in for real students, and a batch for them."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from compact_bench.api import Batch
from compact_bench.student.encode import Encoder, Example, collate
from compact_bench.student.student import Student

WINDOW = 12  # shorter than any row of the tests
KINDS = ("llama", "qwen2", "qwen2_window", "gemma3")


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, so that any text goes through it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(["<pad>", "<eos>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>", padding_side="left"
    )


def tiny_config(kind: str, vocabulary: int):
    """The architectures whose masks differ."""
    shared = {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": None,
        "initializer_range": 0.2,
    }
    if kind == "llama":
        return LlamaConfig(**shared)
    if kind == "qwen2":
        return Qwen2Config(**shared)
    if kind == "qwen2_window":
        return Qwen2Config(
            **shared, use_sliding_window=True, sliding_window=WINDOW, max_window_layers=1
        )
    return Gemma3TextConfig(
        **shared,
        head_dim=8,
        sliding_window=WINDOW,
        layer_types=["sliding_attention", "full_attention"],
        query_pre_attn_scalar=8,
    )


def tiny_model(kind: str, dtype: torch.dtype = torch.float32):
    """A causal language model of that kind with fixed random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = tiny_config(kind, len(tiny_tokenizer()))
        return AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")


def save_tiny(kind: str, folder: Path) -> Path:
    """A model folder as a user would have it."""
    tiny_model(kind).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


QUESTIONS = {
    "Ann has 7 apples. Ann buys 5 more. How many?": [
        ("7 + 5 = 12. So Ann has 12.", "12"),
        ("First there are 7. Then 5 more come.", "13"),
        ("Ann starts with 7 apples and adds 5 to them, which gives 12 apples in all.", "12"),
    ],
    "Bob had 3 pens and lost 1. How many are left?": [
        ("3 - 1 = 2.", "2"),
        ("He lost 1 of 3. That leaves 2.", "2"),
    ],
}


def make_batch(tokenizer) -> Batch:
    encoder = Encoder(tokenizer)
    examples = [
        Example(
            question_id=str(i),
            question=question,
            prompt_ids=encoder.prompt(question),
            answer_ids=encoder.answer(rationales[0][1]),
            rationales=tuple(
                encoder.rationale(text, answer, teacher=k)
                for k, (text, answer) in enumerate(rationales)
            ),
            gold=rationales[0][1],
        )
        for i, (question, rationales) in enumerate(QUESTIONS.items())
    ]
    return collate(examples, teachers=("a", "b", "c"))


def make_student(kind: str, layout: str, dtype=torch.float32) -> Student:
    model = tiny_model(kind, dtype)
    return Student(model, model, tiny_tokenizer(), layout=layout)


def row_alone(student: Student, prefix: list[int], target: list[int]) -> float:
    """The mean NLL of a target by the model's own forward on this row and nothing else."""
    ids = torch.tensor([prefix + target])
    with torch.no_grad():
        log_p = torch.log_softmax(student.causal(ids).logits[0].double(), -1)
    picks = [log_p[len(prefix) - 1 + i, token] for i, token in enumerate(target)]
    return -float(torch.stack(picks).mean())
