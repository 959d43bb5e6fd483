"""Pre-training of the nano student: one- and two-step problems and the base of facts."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from compact_bench.data.mini_old import pretraining
from compact_bench.student.nano.tokenizer import build_tokenizer

IGNORED = -100  # label that the cross-entropy leaves out
CHECKPOINT = 400  # batches; a run that is cut off leaves a student
PARTS = 3  # forward passes a batch


@dataclass(frozen=True)
class Recipe:
    """Everything that makes the shipped student; change a value and it is another student."""

    seed: int = 0
    steps: int = 1400
    problems: int = 36  # a batch
    facts: int = 12  # a batch
    learning_rate: float = 2e-3
    warmup: int = 100
    weight_decay: float = 0.01
    layers: int = 4
    hidden: int = 160
    heads: int = 4


def examples(recipe: Recipe) -> Iterator[list[tuple[str, str]]]:
    """Endless batches of (prompt, target): problems in all styles and orders, and facts."""
    for batch in pretraining(recipe.seed, recipe.problems, recipe.facts):
        yield [(f"Question: {question}\nAnswer:", f" {text}") for question, text, _ in batch]


def new_model(recipe: Recipe, tokenizer):
    """A Llama with random weights from the recipe's seed."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(recipe.seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=recipe.hidden, intermediate_size=recipe.hidden * 3,
        num_hidden_layers=recipe.layers, num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads, max_position_embeddings=512, tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def encode(batch: list[tuple[str, str]], tokenizer):
    """Right-padded ids (B,T), attention mask (B,T), labels (B,T); EOS is a target."""
    import torch

    prompts = tokenizer([prompt for prompt, _ in batch]).input_ids
    targets = tokenizer([target for _, target in batch]).input_ids
    rows = [(p, [*t, tokenizer.eos_token_id]) for p, t in zip(prompts, targets, strict=True)]
    width = max(len(p) + len(t) for p, t in rows)
    ids = torch.full((len(rows), width), tokenizer.pad_token_id)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
    for i, (p, t) in enumerate(rows):
        ids[i, : len(p) + len(t)] = torch.tensor(p + t)
        mask[i, : len(p) + len(t)] = 1
        labels[i, len(p) : len(p) + len(t)] = torch.tensor(t)
    return ids, mask, labels


def pretrain(recipe: Recipe, out: Path, say: Callable[[str], None] = print) -> None:
    """Make the student and write config, weights and tokenizer to `out`.

    The weights are the same for the same recipe, library versions and number of threads.
    """
    import torch

    tokenizer = build_tokenizer()
    model = new_model(recipe, tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), recipe.learning_rate, betas=(0.9, 0.98),
                                  weight_decay=recipe.weight_decay)  # fmt: skip

    def factor(step: int) -> float:
        rising = min(1.0, (step + 1) / recipe.warmup)
        return rising * (0.02 + 0.49 * (1 + math.cos(math.pi * step / recipe.steps)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    start, tokens = time.monotonic(), 0
    for step, batch in zip(range(1, recipe.steps + 1), examples(recipe), strict=False):
        size = -(-len(batch) // PARTS)
        batch.sort(key=lambda pair: len(pair[0]) + len(pair[1]))
        loss = 0.0
        for part in range(PARTS):  # rows of like length together: half the padding
            ids, mask, labels = encode(batch[part * size : (part + 1) * size], tokenizer)
            part_loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss / PARTS
            part_loss.backward()
            loss += part_loss.item()
            tokens += int(mask.sum())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 100 == 0 or step == recipe.steps:
            seconds = time.monotonic() - start
            say(f"step {step}/{recipe.steps} loss {loss:.4f} "
                f"{tokens / seconds:.0f} tokens/s {seconds:.0f} s")  # fmt: skip
        if step % CHECKPOINT == 0 or step == recipe.steps:
            model.save_pretrained(out)
            tokenizer.save_pretrained(out)
