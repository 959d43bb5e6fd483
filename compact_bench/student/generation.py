"""Batched decoding on a key-value cache: greedy for answers, sampled for rationales.

Written here rather than left to `model.generate` for three reasons: a finished row leaves the
batch (on a CPU the cost of a step is the number of rows), the model's own generation settings
(a repetition penalty in some released ones) can't change what is measured, and it is known
why a row stopped. tests/evaluation/test_evaluate.py compares it to `model.generate` and to
lm-eval's HFLM.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache

from compact_bench.student.layouts import pad_rows, real_places


@dataclass(frozen=True)
class Generated:
    """What one row wrote: token ids without the end token, and whether it ended by itself."""

    ids: tuple[int, ...]
    ended: bool  # by an end token or a stop string; False: cut off at the limit


@dataclass(frozen=True)
class Stops:
    """When a row is done: an end token, or a stop string anywhere in its text."""

    tokenizer: Any
    strings: tuple[str, ...] = ()
    end_ids: frozenset[int] = frozenset()
    _tails: dict[int, bool] = field(default_factory=dict, compare=False, repr=False)

    def hit(self, ids: Sequence[int]) -> bool:
        """Whether the text of `ids` holds a stop string, given that the last token is new.

        Only a token that has the last character of a stop string can complete one, so the text
        is decoded for those tokens alone; decoding at every step is most of lm-eval's time.
        """
        last = ids[-1]
        if last not in self._tails:
            text = self.tokenizer.decode([last])
            # A token may be a part of a character: its text says nothing, so it is looked at.
            partial = "\ufffd" in text
            self._tails[last] = partial or any(stop[-1] in text for stop in self.strings)
        if not self._tails[last]:
            return False
        return any(stop in self.text(ids) for stop in self.strings)

    def text(self, ids: Sequence[int]) -> str:
        """The text of generated tokens, special tokens left out."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True)

    def cut(self, text: str) -> str:
        """The text before the first stop string."""
        for stop in self.strings:
            text = text.split(stop, 1)[0]
        return text


def end_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Ids of the tokens that end an answer: the tokenizer's and the model's own."""
    own = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    ids = own if isinstance(own, list) else [own]
    return frozenset({*ids, tokenizer.eos_token_id} - {None})


@dataclass
class Prefix:
    """What N prompts left in the model: cache, mask (N,T) of real positions, next logits (N,V)."""

    cache: DynamicCache
    mask: torch.Tensor  # (N,T) int64, 1 = real token
    logits: torch.Tensor  # (N,V), of the token after the prompt

    def taken(self, rows: Sequence[int]) -> Prefix:
        """The prompts of these rows (any of them several times or never); the cache is a copy."""
        chosen = torch.tensor(rows, device=self.mask.device)
        cache = copy.deepcopy(self.cache)
        cache.batch_select_indices(chosen)
        return Prefix(cache, self.mask[chosen], self.logits[chosen])


def batches(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Indices in batches of like length.

    Longest first, so that a batch that doesn't fit in memory fails at once.

    >>> list(batches([3, 9, 5], 2))
    [[1, 2], [0]]
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    for start in range(0, len(order), size):
        yield order[start : start + size]


@torch.no_grad()
def prefill(model: Any, prompts: Sequence[Sequence[int]]) -> Prefix:
    """Read N prompts, padded on the left, into a cache."""
    # Padding is token 0 whatever the tokenizer says: it is masked.
    ids = pad_rows(prompts, model.device, side="left")  # (N,T)
    mask = real_places(prompts, model.device, side="left")
    cache = DynamicCache(config=model.config)
    logits = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=(mask.cumsum(-1) - 1).clamp(min=0),  # (N,T)
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits[:, -1]  # (N,V)
    return Prefix(cache, mask, logits)


@torch.no_grad()
def decode(
    model: Any,
    prefix: Prefix,
    stops: Stops,
    max_new_tokens: int,
    generator: torch.Generator | None = None,
) -> list[Generated]:
    """Continue N prompts; the prefix is used up. Rows that are done leave the batch.

    Greedy without a generator; with one, sampled at temperature 1 from it (the global random
    state is not touched).
    """
    cache, mask, logits = prefix.cache, prefix.mask, prefix.logits
    live = list(range(len(mask)))  # row of the batch -> row of the prefix
    written: list[list[int]] = [[] for _ in live]
    ended = [False] * len(live)
    for step in range(max_new_tokens):
        if generator is None:
            picked = logits.argmax(-1).tolist()
        else:
            chances = torch.softmax(logits.float().cpu(), -1)  # one generator on every device
            picked = torch.multinomial(chances, 1, generator=generator)[:, 0].tolist()
        stay = []
        for row, (owner, token) in enumerate(zip(live, picked, strict=True)):
            if token in stops.end_ids:
                ended[owner] = True
                continue
            written[owner].append(token)
            ended[owner] = stops.hit(written[owner])
            if not ended[owner]:
                stay.append(row)
        if not stay or step == max_new_tokens - 1:
            break
        if len(stay) < len(live):
            keep = torch.tensor(stay, device=mask.device)
            cache.batch_select_indices(keep)
            mask, live = mask[keep], [live[row] for row in stay]
        mask = torch.cat([mask, mask.new_ones(len(stay), 1)], dim=1)  # (N,T+1)
        logits = model(
            input_ids=torch.tensor([[picked[row]] for row in stay], device=mask.device),  # (N,1)
            attention_mask=mask,
            position_ids=mask.sum(-1, keepdim=True) - 1,  # (N,1)
            past_key_values=cache,
            use_cache=True,
        ).logits[:, -1]  # (N,V)
    return [Generated(tuple(w), e) for w, e in zip(written, ended, strict=True)]


@torch.no_grad()
def continue_with(
    model: Any, prefix: Prefix, rows: Sequence[Sequence[int]], starts: Sequence[int]
) -> list[tuple[float, bool]]:
    """log p(row[start:] | prompt, row[:start]) of N rows, nats, and whether each is the greedy one.

    Summed over the tokens from `start` on. The prefix is used up.
    """
    device = prefix.mask.device
    ids, mask = pad_rows(rows, device), real_places(rows, device)  # (N,S)
    # The token at t is predicted at t - 1, the first one by the prompt itself.
    spans = [range(at, len(row)) for row, at in zip(rows, starts, strict=True)]
    read = sorted({t - 1 for span in spans for t in span})
    logits = prefix.logits[:, None]  # (N,1,V)
    if read[-1] >= 0:
        inside = [t for t in read if t >= 0]
        later = torch.arange(ids.shape[1], device=device)
        after_rows = model(
            input_ids=ids,
            attention_mask=torch.cat([prefix.mask, mask], dim=1),  # (N,T+S)
            position_ids=prefix.mask.sum(-1, keepdim=True) + later,  # (N,S)
            past_key_values=prefix.cache,
            use_cache=True,
            logits_to_keep=torch.tensor(inside, device=device),
        ).logits  # (N,len(inside),V)
        logits = torch.cat([logits, after_rows], dim=1) if read[0] < 0 else after_rows
    column = {t: c for c, t in enumerate(read)}
    out = []
    for n, (row, span) in enumerate(zip(rows, spans, strict=True)):
        chances = logits[n, [column[t - 1] for t in span]]  # (A,V)
        chances = chances.to(torch.promote_types(chances.dtype, torch.float32))
        tokens = torch.tensor([row[t] for t in span], device=device)  # (A,)
        total = chances.log_softmax(-1).gather(1, tokens[:, None]).double().sum()
        out.append((float(total), bool((chances.argmax(-1) == tokens).all())))
    return out


def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    stops: Stops,
    *,
    max_new_tokens: int,
    batch_size: int,
    progress: Callable[[int], None] | None = None,
) -> list[Generated]:
    """Greedy continuations of all prompts, in the order given, decoded in batches of like length.

    progress: called with how many prompts a batch has finished.
    """
    out: dict[int, Generated] = {}
    for chosen in batches([len(prompt) for prompt in prompts], batch_size):
        rows = decode(model, prefill(model, [prompts[i] for i in chosen]), stops, max_new_tokens)
        out.update(zip(chosen, rows, strict=True))
        if progress:
            progress(len(chosen))
    return [out[i] for i in range(len(prompts))]
