"""The nano student: where the shipped one lies, and the pre-training that makes it again.

Its tokenizer knows whole words, single digits, and bytes for everything else.
"""

from __future__ import annotations

import argparse
import math
import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from compact_bench.mini.old_skills import pretraining

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# A word or a digit carries the space before it, so that prompt and rationale can be tokenised
# apart and joined; numbers are split into digits.
PIECE = r" ?[A-Za-z]+| ?[0-9]| ?[^\sA-Za-z0-9]|\s"

PAD, EOS = "<pad>", "<eos>"

# Words that the suites' generators may need beyond those of the shipped student's own texts.
EXTRA = """yes no Yes No true false A B C D E Answer choices Is Does Do Who Whose Which What
(A) , the a an and or in than old older younger oldest youngest higher lower highest lowest larger
smaller number less most least both same not"""


def nano_path() -> Path:
    """Folder of the shipped student, for AutoModelForCausalLM and AutoTokenizer."""
    return Path(__file__).parent / "weights"


def words() -> list[str]:
    """Every piece of every generator's text, sorted: the vocabulary doesn't depend on a sample."""
    from compact_bench.data import faults
    from compact_bench.mini import old_skills, problems, teachers

    texts = ["Question: How", "Answer: The answer is", *faults.FILLER, *problems.NAMES,
             *problems.NOUNS, *teachers.WORD.values(), "0 1 2 3 4 5 6 7 8 9"]  # fmt: skip
    texts += [fact.question for fact in old_skills.facts()]
    texts += [wording.format(name="", x=0, y=0)
              for wordings in problems.WORDING.values() for wording in wordings]  # fmt: skip
    texts += [wording.format(a=0, b=0, v=0) for wording in teachers.HUMAN.values()]
    for style in teachers.STYLES:
        rng = random.Random(style)
        for problem in islice(problems.problems(rng, "pretraining", (1, 2, 3)), 50):
            values = problems.evaluate(problem.steps)
            lines = teachers.solution_lines(problem.steps, values, values)
            texts += [problem.question, teachers.rationale_body(style, problem, lines)]
    texts.append(EXTRA)
    bare = {piece.strip() for text in texts for piece in re.findall(PIECE, text)}
    return sorted(form for word in bare if word for form in (word, " " + word))


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE without merges: a known piece is one token, any other is its bytes.

    decode(encode(x)) == x for every text, since every byte has a token.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    vocabulary = {token: i for i, token in enumerate([PAD, EOS])}
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    coded = [to_bytes.pre_tokenize_str(word)[0][0] for word in words()]
    for token in [*alphabet, *coded]:
        vocabulary.setdefault(token, len(vocabulary))
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(PIECE), behavior="isolated"), to_bytes]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, eos_token=EOS,
                                   clean_up_tokenization_spaces=False, padding_side="right",
                                   model_max_length=512)  # fmt: skip


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


def main(arguments: list[str] | None = None) -> None:
    """Parse the options and train."""
    parser = argparse.ArgumentParser(prog="python -m compact_bench.mini.nano.pretrain",
                                     description="Train the nano student.")  # fmt: skip
    parser.add_argument("--out", type=Path, default=nano_path(), help="folder to write")
    parser.add_argument("--steps", type=int, default=Recipe.steps, help="batches")
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--threads", type=int, default=1, help="the shipped student: 1")
    options = parser.parse_args(arguments)
    if options.steps < 1 or options.threads < 1:
        parser.error("--steps and --threads must be 1 or more")
    import torch

    torch.set_num_threads(options.threads)
    recipe = replace(Recipe(), steps=options.steps, seed=options.seed)
    pretrain(recipe, options.out, lambda line: print(line, flush=True))


if __name__ == "__main__":
    main()
