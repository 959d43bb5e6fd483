"""A tiny Llama that knows a few answers by heart, for the tests of evaluation."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

# What the tiny student is taught by heart: an answer, no stated answer, a wrong one, one that
# runs on into the next question, and one that never ends.
TAUGHT = {
    "1 and 2?": (" one, two The answer is 3", True),
    "2 and 2?": (" so it is 4", True),
    "3 and 2 apples?": (" three, two The answer is 7", True),
    "4?": (" four The answer is 4\nQuestion: 5?", False),
    "6 and 1 ?": (" ha" * 30, False),
}
GOLD = {"1 and 2?": "3", "2 and 2?": "4", "3 and 2 apples?": "5", "4?": "4", "6 and 1 ?": "7"}
LIMIT = 40


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte; the pad token is the EOS."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {"<eos>": 0} | {letter: i + 1 for i, letter in enumerate(alphabet)}
    inner = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>", pad_token="<eos>")


def taught_student(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A Llama of two layers that knows TAUGHT by heart."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=48,
                intermediate_size=96,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=256,
                eos_token_id=0,
                bos_token_id=None,
                pad_token_id=0,
            )
        )
        texts = [f"Question: {q}\nAnswer:{a}" for q, (a, _) in TAUGHT.items()]
        rows = [
            tokenizer(text)["input_ids"] + ([0] if ends else [])
            for text, (_, ends) in zip(texts, TAUGHT.values(), strict=True)
        ]
        width = max(map(len, rows))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
        labels = torch.tensor([row + [-100] * (width - len(row)) for row in rows])
        optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
        for _ in range(150):
            loss = model(input_ids=ids, labels=labels).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval()


def by_hand(model: LlamaForCausalLM, ids: list[int], limit: int) -> list[int]:
    """Greedy continuation without a cache, one token at a time."""
    row = list(ids)
    for _ in range(limit):
        token = int(model(torch.tensor([row])).logits[0, -1].argmax())
        if token == 0:
            break
        row.append(token)
    return row[len(ids) :]
