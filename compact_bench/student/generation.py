"""Batched decoding on a key-value cache: greedy for answers, sampled for rationales.

Written here rather than left to `model.generate` for four reasons: finished rows leave the
batch (on a CPU the cost of a step is the number of rows), keys and values stay where they are
(they aren't copied to be joined to each new token's), the model's own generation
settings (a repetition penalty in some released ones) can't change what is measured, and it is
known why a row stopped. tests/evaluation/test_evaluate.py compares it to `model.generate` and to
lm-eval's HFLM.
"""

from __future__ import annotations

import copy
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from compact_bench.student.batch import Batch, OwnRationales
from compact_bench.student.encode import Encoder, with_own
from compact_bench.student.layouts import common_prefix, pad_rows, real_places

# Prompts are read so many tokens at a time on a CPU: the activations stay in its caches, and rows
# of like length have little padding. 450 answers of `nano`, 500 at a time: 2.1 s instead of 2.5.
READ_TOKENS = 1024
# A beginning that prompts share (of a chat, examples, one question with several rationales) is
# read once if it is as long, and if that saves such a part of all tokens.
SHORTEST_SHARED, LEAST_SAVED = 16, 0.25
# Of the batch's rows; copying the others' keys and values at every end costs more than it saves,
# and letting waiting prompts take the places at once costs a fifth more than a batch of their own.
MOST_LIVE = 0.5


@dataclass(frozen=True)
class Generated:
    """What one row wrote: token ids without the end token, and whether it ended by itself.

    end: the end token that it wrote, None where a stop string or the limit ended it. log_p: of a
    sampled row, each token's log-probability under what it was drawn from, the end token's too.
    """

    ids: tuple[int, ...]
    ended: bool  # by an end token or a stop string; False: cut off at the limit
    end: int | None = field(default=None, compare=False)
    log_p: tuple[float, ...] = field(default=(), compare=False)  # a batch's shape shows in it


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


class RoomyLayer(DynamicLayer):
    """Keys and values (N,H,T,D) of a layer in buffers with room for further tokens.

    transformers' own dynamic layer copies all of them at every token, its static one attends to the
    whole buffer: 450 answers of `nano` in batches of 200 take 0.8 of the time of the first. A
    sliding layer may be kept in it too: the mask limits what is seen.

    further: how many tokens more than they hold buffers are made for, when they have to be.
    """

    def __init__(self, further: int = 0) -> None:
        super().__init__()
        self.further = further
        self.buffers: tuple[Tensor, Tensor] | None = None

    def fill(self, keys: Tensor, values: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """Takes over buffers (N,H,T,D) that hold `length` tokens; returns the views of those."""
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
        self.buffers = keys, values
        views = keys[:, :, :length], values[:, :, :length]
        self.keys, self.values = views
        return views

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Appends (N,H,S,D) and returns views of all keys and values."""
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        keys, values = self.buffers or (key_states[:, :, :0], value_states[:, :, :0])
        if end > keys.shape[-2]:
            keys, values = (_moved(old, start, end + self.further) for old in (keys, values))
        keys[:, :, start:end], values[:, :, start:end] = key_states, value_states
        return self.fill(keys, values, end)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keeps these rows, any of them several times or never, in buffers of their own."""
        if self.buffers:
            length, room = self.get_seq_length(), self.buffers[0].shape[-2]
            keys, values = (_moved(old, length, room, indices) for old in self.buffers)
            self.fill(keys, values, length)


def _moved(old: Tensor, length: int, room: int, rows: Tensor | None = None) -> Tensor:
    """A buffer of so much room with the first `length` tokens of these rows (None: of all)."""
    count = len(old) if rows is None else len(rows)
    buffer = old.new_empty(count, old.shape[1], room, old.shape[-1])
    kept = old[:, :, :length]
    buffer[:, :, :length] = kept if rows is None else kept[rows]
    return buffer


@dataclass
class Prefix:
    """What N prompts left in the model: cache, mask (N,T) of real positions, next logits (N,V)."""

    cache: DynamicCache
    mask: Tensor  # (N,T) int64, 1 = real token
    logits: Tensor  # (N,V), of the token after the prompt

    def taken(self, rows: Sequence[int]) -> Prefix:
        """The prompts of these rows (any of them several times or never); the cache is a copy."""
        chosen = torch.tensor(rows, device=self.mask.device)
        if self.roomy:
            # Selecting makes tensors of its own, so that nothing has to be copied before.
            cache = copy.copy(self.cache)
            cache.layers = [copy.copy(layer) for layer in self.cache.layers]
        else:
            cache = copy.deepcopy(self.cache)
        cache.batch_select_indices(chosen)
        return Prefix(cache, self.mask[chosen], self.logits[chosen])

    @property
    def roomy(self) -> bool:
        """Whether the cache can be put together from parts."""
        return all(isinstance(layer, RoomyLayer) for layer in self.cache.layers)


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
def prefill(model: Any, prompts: Sequence[Sequence[int]], further: int = 0) -> Prefix:
    """Read N prompts, padded on the left, into a cache with room for `further` tokens.

    A long beginning that some share is read once. Prompts of like length should be neighbours.
    """
    plain = DynamicCache(config=model.config)
    if any(type(layer) not in (DynamicLayer, DynamicSlidingWindowLayer) for layer in plain.layers):
        # A recurrent state has one size whatever the length, and can't be put together from parts.
        return _read(model, plain, prompts, None)
    # A sliding window is counted in columns, so that there no padding may stand within a row.
    sliding = any(getattr(layer, "is_sliding", False) for layer in plain.layers)
    owners, beginnings = ([None] * len(prompts), []) if sliding else shared_beginnings(prompts)
    first = _read(model, DynamicCache(), beginnings, None) if beginnings else None
    parts = []
    for chosen in _neighbours(prompts, READ_TOKENS if model.device.type == "cpu" else None):
        own = [owners[n] for n in chosen]
        starts = [0 if owner is None else len(beginnings[owner]) for owner in own]
        rows = [prompts[n][start:] for n, start in zip(chosen, starts, strict=True)]
        before = first.taken([owner or 0 for owner in own]) if first else None
        if before:  # a row that shares nothing sees nothing of what stands before it
            before.mask[[owner is None for owner in own]] = 0
        parts.append(_read(model, before.cache if before else DynamicCache(), rows, before))
    return _joined(parts, first.mask.shape[1] if first else 0, further)


def shared_beginnings(
    prompts: Sequence[Sequence[int]], shortest: int = SHORTEST_SHARED
) -> tuple[list[int | None], list[Sequence[int]]]:
    """For each prompt the number of its beginning (None where it shares none), and the beginnings.

    None at all where reading them once saves less than a quarter of the tokens. A beginning ends
    before a prompt's last token, which gives the logits of the next one.

    >>> shared_beginnings([[1, 2, 3], [7, 8], [1, 2, 4]], shortest=2)
    ([0, None, 0], [[1, 2]])
    """
    order = sorted(range(len(prompts)), key=lambda n: tuple(prompts[n]))
    owners: list[int | None] = [None] * len(prompts)
    beginnings: list[Sequence[int]] = []
    saved = at = 0
    while at < len(order):
        group, shared = [order[at]], prompts[order[at]][:-1]
        for n in order[at + 1 :]:
            longest = common_prefix([shared, prompts[n][:-1]])
            if longest < shortest:
                break
            group, shared = [*group, n], shared[:longest]
        if len(group) > 1:
            for n in group:
                owners[n] = len(beginnings)
            beginnings.append(shared)
            saved += (len(group) - 1) * len(shared)
        at += len(group)
    if saved < LEAST_SAVED * sum(map(len, prompts)):
        return [None] * len(prompts), []
    return owners, beginnings


def _neighbours(rows: Sequence[Sequence[int]], tokens: int | None) -> Iterator[range]:
    """Rows in their order, in parts of at most so many tokens with padding (None: any)."""
    start = longest = 0
    for at, row in enumerate(rows):
        longest = max(longest, len(row))
        if tokens is not None and at > start and longest * (at + 1 - start) > tokens:
            yield range(start, at)
            start, longest = at, len(row)
    yield range(start, len(rows))


def _read(model: Any, cache: Any, rows: Sequence[Sequence[int]], before: Prefix | None) -> Prefix:
    """Read N rows, padded on the left, after what the cache holds of each: that of `before`."""
    # Padding is token 0 whatever the tokenizer says: it is masked.
    ids = pad_rows(rows, model.device, side="left")  # (N,S)
    mask = real_places(rows, model.device, side="left")  # (N,S)
    past = mask[:, :0] if before is None else before.mask  # (N,P)
    seen = torch.cat([past, mask], dim=1)  # (N,P+S)
    logits = model(
        input_ids=ids,
        attention_mask=seen,
        position_ids=(seen.cumsum(-1) - 1).clamp(min=0)[:, past.shape[1] :],  # (N,S)
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits[:, -1]  # (N,V)
    return Prefix(cache, seen, logits)


def _joined(parts: Sequence[Prefix], shared: int, further: int) -> Prefix:
    """The rows of all parts in one cache: the shared columns first, the others at the right."""
    width = max(part.mask.shape[1] for part in parts)

    def wide(pieces: Sequence[Tensor], column: int, room: int) -> Tensor:
        """Pieces (N,...,T,...) as one tensor; `column`: the dimension of T. Zeros fill it up."""
        shape = list(pieces[0].shape)
        shape[0], shape[column] = sum(map(len, pieces)), width + room
        # Not left empty: what is masked must be finite.
        whole = pieces[0].new_zeros(shape)
        at = 0
        for piece in pieces:
            rows = whole[at : at + len(piece)]
            own = piece.shape[column] - shared
            rows.narrow(column, 0, shared).copy_(piece.narrow(column, 0, shared))
            rows.narrow(column, width - own, own).copy_(piece.narrow(column, shared, own))
            at += len(piece)
        return whole

    cache = DynamicCache()
    for layers in zip(*(part.cache.layers for part in parts), strict=True):
        own: list[Any] = list(layers)
        roomy = RoomyLayer(further)
        if own[0].is_initialized:  # one that uses another layer's keys has none of its own
            keys = wide([layer.keys for layer in own], 2, further)
            roomy.fill(keys, wide([layer.values for layer in own], 2, further), width)
        cache.layers.append(roomy)
    mask = wide([part.mask for part in parts], 1, 0)
    return Prefix(cache, mask, torch.cat([part.logits for part in parts]))


@torch.no_grad()
def decode(
    model: Any,
    prefix: Prefix,
    stops: Stops,
    max_new_tokens: int,
    noise: Tensor | None = None,
    temperature: float = 1.0,
) -> list[Generated]:
    """Continue N prompts; the prefix is used up. Rows that are done leave the batch.

    Greedy without noise; with it, (N,max_new_tokens) float64 uniform in [0,1), sampled at the
    temperature: a row's tokens depend on its own noise alone, not on the other rows.
    """
    owners = list(range(len(prefix.mask)))  # row of the batch -> row of the prefix
    written: list[list[int]] = [[] for _ in owners]
    chances: list[list[float]] = [[] for _ in owners]
    ends: list[int | None] = [None for _ in owners]
    ended = [False] * len(owners)
    while True:
        picked, logs = prefix.logits.argmax(-1), []
        if noise is not None:
            own = noise[owners, [min(len(written[o]), max_new_tokens - 1) for o in owners]]
            picked, log_p = _drawn(prefix.logits / temperature, own)
            logs = log_p.tolist()
        live = []  # rows of the batch
        for row, (owner, token) in enumerate(zip(owners, picked.tolist(), strict=True)):
            if ended[owner] or len(written[owner]) == max_new_tokens:
                continue
            chances[owner] += logs[row : row + 1]
            if token in stops.end_ids:
                ended[owner], ends[owner] = True, token
                continue
            written[owner].append(token)
            ended[owner] = stops.hit(written[owner])
            if not ended[owner] and len(written[owner]) < max_new_tokens:
                live.append(row)
        if not live:
            break
        alive = [True] * len(live)
        if len(live) <= MOST_LIVE * len(owners):
            owners = [owners[row] for row in live]
            prefix, picked = prefix.taken(live), picked[live]
        else:
            inside = set(live)
            alive = [row in inside for row in range(len(owners))]
        prefix = _next(model, prefix, picked, alive)
    rows = zip(written, ended, ends, chances, strict=True)
    return [Generated(tuple(ids), e, end, tuple(logs)) for ids, e, end, logs in rows]


def _next(model: Any, prefix: Prefix, token: Tensor, alive: Sequence[bool]) -> Prefix:
    """The prefix with one token (N,) more of each row; of rows that aren't alive it is masked."""
    real = torch.tensor(alive, device=token.device, dtype=prefix.mask.dtype)
    mask = torch.cat([prefix.mask, real[:, None]], dim=1)  # (N,T+1)
    logits = model(
        input_ids=token[:, None],  # (N,1)
        attention_mask=mask,
        position_ids=prefix.mask.sum(-1, keepdim=True),  # (N,1)
        past_key_values=prefix.cache,
        use_cache=True,
    ).logits[:, -1]  # (N,V)
    return Prefix(prefix.cache, mask, logits)


def _drawn(logits: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) int64: a token of each row (N,V) by inverting its distribution at (N,) in [0,1); and
    (N,) its log-probability."""
    chances = logits.float().softmax(-1)  # (N,V)
    reached = chances.cumsum(-1, dtype=torch.float64)  # (N,V)
    target = uniform.to(reached.device)[:, None] * reached[:, -1:]
    token = torch.searchsorted(reached, target, right=True)[:, 0]
    token = token.clamp(max=logits.shape[-1] - 1)
    return token, chances.gather(-1, token[:, None])[:, 0].log()


def own_noise(seed: int, step: int, prompt: Sequence[int], sample: int, count: int) -> Tensor:
    """(count,) float64 uniform in [0,1) for the m-th sample of a prompt at a step of a run.

    It follows from these alone: not from the batch that the prompt is in, nor from how many samples
    or tokens are drawn.
    """
    name = f"{seed} {step} {sample} {list(prompt)}".encode()
    draw = torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(name).digest()[:7]))
    return torch.rand(count, generator=draw, dtype=torch.float64)


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

    Equal prompts are continued once. progress: called with how many prompts a batch has finished.
    """
    counts = Counter(map(tuple, prompts))
    unlike = list(counts)
    written: dict[tuple[int, ...], Generated] = {}
    for chosen in batches([len(prompt) for prompt in unlike], batch_size):
        prefix = prefill(model, [unlike[i] for i in chosen], max_new_tokens)
        rows = decode(model, prefix, stops, max_new_tokens)
        written.update(zip((unlike[i] for i in chosen), rows, strict=True))
        if progress:
            progress(sum(counts[unlike[i]] for i in chosen))
    return [written[tuple(prompt)] for prompt in prompts]


def own_rationales(
    batch: Batch, written: Sequence[Sequence[Generated]], stops: Stops, encoder: Encoder
) -> OwnRationales:
    """What a student wrote for the questions of a batch, [b][m], as a batch of its own."""
    texts = [[stops.cut(stops.text(one.ids)) for one in row] for row in written]
    ids = [[[*o.ids] if o.end is None else [*o.ids, o.end] for o in row] for row in written]
    encoded = [
        [
            encoder.as_written(ids[b][m], text, m, batch.gold[b], batch.kinds[b])
            for m, text in enumerate(row)
        ]
        for b, row in enumerate(texts)
    ]
    log_p = torch.zeros(len(ids), len(ids[0]), max(len(one) for row in ids for one in row))
    for b, row in enumerate(written):
        for m, one in enumerate(row):
            log_p[b, m, : len(one.log_p)] = torch.tensor(one.log_p)
    ended = torch.tensor([[one.ended for one in row] for row in written])
    device = batch.teacher.device
    return OwnRationales(with_own(batch, encoded), texts, ended.to(device), log_p.to(device))
