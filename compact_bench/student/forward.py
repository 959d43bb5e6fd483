"""The forward: rows of tokens through the decoder, and the head at the few positions needed.

The head runs in chunks over those positions, so that no (B,R,T,V) tensor exists unless a method
asks for logits: with 49,152 tokens in the vocabulary it would be the largest of a step by far.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from compact_bench.student import attention, layouts
from compact_bench.student.batch import Batch, FullStates, Output
from compact_bench.student.layouts import Flat, Placement, TokenRow

CHUNK_LOGITS = 2**24  # at most this many logits at a time: 64 MiB in float32
Products = Callable[[], AbstractContextManager[Any]]  # what products run inside
LAYOUT_TOLERANCE = 1e-3  # of a mean NLL of some nats; wrong masks are off by 1e-2 and more


class Head:
    """The head of a causal language model with its final scaling."""

    def __init__(self, causal: Any, products: Products = nullcontext) -> None:
        self.products = products
        self.module = causal.get_output_embeddings()
        config = causal.config
        self.softcap = getattr(config, "final_logit_softcapping", None)
        self.scaling = getattr(config, "logits_scaling", None)
        self.vocabulary = self.module.weight.shape[0]

    def __call__(self, states: Tensor) -> Tensor:
        """(..., D) -> (..., V), in float32 at least: a softmax in bf16 loses too much."""
        with self.products():
            logits = self.module(states)
        logits = logits if logits.dtype == torch.float64 else logits.float()
        if self.scaling:
            logits = logits / self.scaling
        if self.softcap:
            logits = torch.tanh(logits / self.softcap) * self.softcap
        return logits

    def token_nll(self, states: Tensor, target: Tensor) -> Tensor:
        """-log p(target) for states (N,D) and target (N,): (N,) nats, with gradient."""
        chunks = self._chunks(states, target)
        if len(chunks) == 1:
            return self._nll(states, target)
        if not torch.is_grad_enabled():
            return torch.cat([self._nll(s, t) for s, t in chunks])
        frozen = not any(p.requires_grad for p in self.module.parameters())
        if frozen:
            nll: Tensor = _FrozenHeadNll.apply(states, self, chunks)
            return nll
        # Recomputed in the backward pass, or the chunks' logits would all be kept for it.
        parts = [checkpoint(self._nll, s, t, use_reentrant=False) for s, t in chunks]
        return torch.cat(parts)

    def log_p_of(self, states: Tensor, tokens: Tensor) -> Tensor:
        """log p of tokens (N,K) after states (N,D): (N,K) nats, with gradient."""
        chunks = self._chunks(states, tokens)
        if len(chunks) == 1 or not torch.is_grad_enabled():
            return torch.cat([self._log_p(s, t) for s, t in chunks])
        # Recomputed in the backward pass, as in `token_nll`.
        parts = [checkpoint(self._log_p, s, t, use_reentrant=False) for s, t in chunks]
        return torch.cat(parts)

    @torch.no_grad()
    def top(self, states: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The `count` likeliest tokens after states (N,D), likeliest first, and their
        log-probabilities: (N,K) int64 and (N,K)."""
        found = []
        for part in states.split(self._chunk_size):
            logits = self(part)
            values, tokens = logits.topk(min(count, logits.shape[-1]), dim=-1)
            found.append((tokens, values - logits.logsumexp(-1, keepdim=True)))
        return torch.cat([t for t, _ in found]), torch.cat([v for _, v in found])

    @torch.no_grad()
    def token_rank(self, states: Tensor, target: Tensor) -> Tensor:
        """1 + the number of strictly likelier tokens: (N,) int64."""
        ranks = []
        for s, t in self._chunks(states, target):
            logits = self(s)
            ranks.append((logits > logits.gather(1, t[:, None])).sum(-1) + 1)
        return torch.cat(ranks)

    def _nll(self, states: Tensor, target: Tensor) -> Tensor:
        return cross_entropy(self(states), target, reduction="none")

    def _log_p(self, states: Tensor, tokens: Tensor) -> Tensor:
        logits = self(states)
        return logits.gather(-1, tokens) - logits.logsumexp(-1, keepdim=True)

    @property
    def _chunk_size(self) -> int:
        return max(1, CHUNK_LOGITS // self.vocabulary)

    def _chunks(self, states: Tensor, target: Tensor) -> list[tuple[Tensor, Tensor]]:
        size = self._chunk_size
        return list(zip(states.split(size), target.split(size), strict=True))


class _FrozenHeadNll(torch.autograd.Function):
    """Each token's NLL, with d NLL / d state computed beside it while a chunk's logits are there.

    Where the head is frozen its gradient isn't needed, and a token's loss depends on its own state
    alone: the (N,D) derivatives are all that the backward pass needs, so that nothing is computed
    twice and no logits are kept (7% of a step of SmolLM2-135M, a fifth of whose weights are the
    head).
    """

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, head: Head, chunks: Sequence[tuple[Tensor, Tensor]]
    ) -> Tensor:
        losses, slopes = [], []
        for part, target in chunks:
            with torch.enable_grad():
                own = part.detach().requires_grad_()
                nll = head._nll(own, target)
                slopes.append(torch.autograd.grad(nll.sum(), own)[0])
            losses.append(nll.detach())
        ctx.save_for_backward(torch.cat(slopes))
        return torch.cat(losses)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (slopes,) = ctx.saved_tensors
        return (gradients[0][:, None] * slopes).to(slopes.dtype), None, None


@dataclass
class Passed:
    """One pass. rows: what was read; shape: (B,R); hidden: (Q,L,D) after the final norm.

    layers: (Q,L,D) each, from the embedding on; cache: keys and values. Both only where asked for.
    """

    head: Head
    rows: list[TokenRow]
    shape: tuple[int, int]
    placement: Placement
    hidden: Tensor
    layers: tuple[Tensor, ...] | None = None
    cache: Any = None

    @property
    def cells(self) -> int:
        """B times R."""
        return self.shape[0] * self.shape[1]

    @cached_property
    def slots(self) -> Tensor:
        """(rows,) int64: the flat place of each row in (B,R)."""
        flat = [row.question * self.shape[1] + row.slot for row in self.rows]
        return torch.tensor(flat, dtype=torch.int64, device=self.hidden.device)

    @property
    def predictors(self) -> Tensor:
        """(N,D): the states that predict the target tokens."""
        return self.hidden.flatten(0, 1)[self.placement.predictor]

    def losses(self, needs: Collection[str] = ()) -> Output:
        """The mean NLL of each row, and the values by token that `needs` names."""
        placement, states = self.placement, self.predictors
        token_nll = self.head.token_nll(states, placement.target)  # (N,)
        slot = self.slots[placement.row]  # (N,)
        total = token_nll.new_zeros(self.cells).index_add(0, slot, token_nll)
        count = torch.bincount(slot, minlength=self.cells)
        out = Output(
            nll=(total / count.clamp_min(1)).view(self.shape), lengths=count.view(self.shape)
        )
        if "token_nll" in needs:
            out.token_nll = self._by_token(token_nll, slot, placement.offset)
        if "token_rank" in needs:
            rank = self.head.token_rank(states.detach(), placement.target)
            out.token_rank = self._by_token(rank, slot, placement.offset)
        return out

    @torch.no_grad()
    def token_nll(self) -> Tensor:
        """(B,R,T) nats of the target tokens, without gradient."""
        nll = self.head.token_nll(self.predictors, self.placement.target)
        return self._by_token(nll, self.slots[self.placement.row], self.placement.offset)

    def top(self, count: int) -> tuple[Tensor, Tensor]:
        """At each target token the likeliest ones and their log-probabilities, (B,R,T,K) each."""
        slot, offset = self.slots[self.placement.row], self.placement.offset
        tokens, log_p = self.head.top(self.predictors.detach(), count)
        return self._by_token(tokens, slot, offset), self._by_token(log_p, slot, offset)

    def log_p_of(self, tokens: Tensor) -> Tensor:
        """(B,R,T,K): log p of these tokens (B,R,T,K) at each target token, with gradient."""
        slot, offset = self.slots[self.placement.row], self.placement.offset
        chosen = tokens.flatten(0, 1)[slot, offset]  # (N,K)
        return self._by_token(self.head.log_p_of(self.predictors, chosen), slot, offset)

    @torch.no_grad()
    def states(self, pooling: str = "mean", layer: int = -1) -> Tensor:
        """(B,R,D): mean over the target's tokens, or the last token's state, at one layer."""
        assert self.layers is not None
        hidden = self.layers[layer]
        states = hidden.new_zeros(*self.shape, hidden.shape[-1])
        for number, row in enumerate(self.rows):
            places = self.placement.places[number]
            own = places[len(row.prefix) :] if pooling == "mean" else places[-1:]
            states[row.question, row.slot] = hidden[self.placement.sequence[number], own].mean(0)
        return states

    def full(self) -> FullStates:
        """Every position of a padded placement."""

        def grid(values: Tensor) -> Tensor:
            empty = values.new_zeros(self.cells, *values.shape[1:])
            return empty.index_copy(0, self.slots, values).view(*self.shape, *values.shape[1:])

        return FullStates(
            hidden=grid(self.hidden),
            input_ids=grid(self.placement.input_ids),
            real=grid(self.placement.real),
        )

    def logits(self, batch: Batch, where: str) -> Tensor:
        """(B,R,T,V) at the answer's tokens, the target's tokens or all positions."""
        if where == "all":
            return self.head(self.full().hidden)
        if where not in ("target", "answer"):
            raise ValueError(f"logits:{where}; allowed: logits:answer, logits:target, logits:all")
        placement = self.placement
        starts = [_answer_start(row, batch) if where == "answer" else 0 for row in self.rows]
        first = torch.tensor(starts, dtype=torch.int64, device=self.hidden.device)
        offset = placement.offset - first[placement.row]
        inside = offset >= 0
        logits = self.head(self.predictors[inside])  # (n,V)
        return self._by_token(logits, self.slots[placement.row[inside]], offset[inside])

    def _by_token(self, values: Tensor, slot: Tensor, offset: Tensor) -> Tensor:
        """Values of tokens (n,...) -> (B,R,T,...), 0 beyond a row's end."""
        longest = int(offset.max()) + 1
        grid = values.new_zeros(self.cells, longest, *values.shape[1:])
        grid = grid.index_put((slot, offset), values)
        return grid.view(*self.shape, longest, *values.shape[1:])


def _answer_start(row: TokenRow, batch: Batch) -> int:
    """Where in a row's target its answer begins: the whole target may be the answer."""
    whole = batch.rationale_ids[row.question][row.slot]
    return batch.answer_start[row.question][row.slot] if row.target == whole else 0


class Network:
    """The decoder and the head of a causal language model, in either layout. Counts no cost."""

    def __init__(
        self, causal: Any, pad_id: int, device: str | torch.device = "cpu", mixed: bool = False
    ) -> None:
        self.decoder = causal.get_decoder()
        self.config = causal.config
        self.pad_id = pad_id
        self.device = torch.device(device)
        self.products: Products = nullcontext
        if mixed:
            self.products = partial(torch.autocast, self.device.type, dtype=torch.bfloat16)
        self.head = Head(causal, self.products)
        if causal.config._attn_implementation == "sdpa":  # the same where no segments are given
            causal.set_attn_implementation(attention.NAME)

    def read(
        self,
        rows: list[TokenRow],
        shape: tuple[int, int],
        layout: str,
        all_layers: bool = False,
        use_cache: bool = False,
    ) -> Passed:
        """One pass of these rows through the decoder; shape: (B,R)."""
        if layout == "shared":
            placement, flat = layouts.place_shared(rows, self.device)
            arguments = _flat_arguments(flat)
        else:
            placement = layouts.place_padded(rows, self.pad_id, self.device)
            arguments = {
                "input_ids": placement.input_ids,
                "attention_mask": placement.real.long(),
            }
        if use_cache:
            # Without a config it keeps every position, also of sliding layers.
            arguments["past_key_values"] = DynamicCache()
            arguments["past_key_values"].layer_class_to_replicate = _Layer
        with self.products():
            result = self.decoder(use_cache=use_cache, output_hidden_states=all_layers, **arguments)
        layers = result.hidden_states if all_layers else None
        cache = result.past_key_values if use_cache else None
        return Passed(self.head, rows, shape, placement, result.last_hidden_state, layers, cache)

    @torch.no_grad()
    def read_on(self, passed: Passed, further: Flat) -> Tensor:
        """Further tokens on a shared pass's cache, which is not copied: (1,W,D), detached."""
        arguments = _flat_arguments(further) | {"past_key_values": _detached(passed.cache)}
        with self.products():
            result: Tensor = self.decoder(use_cache=True, **arguments).last_hidden_state
        return result


def _flat_arguments(flat: Flat) -> dict[str, Any]:
    ids, positions = flat.tensors()
    # A mask of four dimensions is passed on as it is, so that none is made; nothing reads it.
    no_mask = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=flat.device)
    return {
        "input_ids": ids,
        "position_ids": positions,
        "attention_mask": no_mask,
        "segments": flat.segments(),
    }


class _Layer(DynamicLayer):
    """Keeps the first keys and values as they are: joining them to nothing would copy them, and
    the copy's gradient as well."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        if self.is_initialized:
            return super().update(key_states, value_states, *args, **kwargs)
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys, self.values = key_states, value_states
        self.is_initialized = True
        return key_states, value_states


def _detached(cache: Any) -> Any:
    """A cache with the same tensors that holds no graph and may grow: growing makes new ones."""
    detached = DynamicCache()
    for layer in cache.layers:
        own = copy.copy(layer)
        own.keys, own.values = layer.keys.detach(), layer.values.detach()
        detached.layers.append(own)
    return detached


def choose_layout(
    wanted: str, model: Any, causal: Any, pad_id: int, device: str | torch.device = "cpu"
) -> tuple[str, str]:
    """The layout to use and, where that is not the shared prefix, why.

    The shared prefix is tried on a few tokens, since an architecture may do its attention in its
    own way without a word. model: what is trained, which holds `causal`.
    """
    if wanted == "padded":
        return "padded", "asked for"
    network = Network(causal, pad_id, device)
    if causal.config._attn_implementation != attention.NAME:
        return "padded", f"attention is {causal.config._attn_implementation}, not sdpa"
    vocabulary = causal.get_input_embeddings().weight.shape[0]
    window = getattr(causal.config, "sliding_window", None) or 8
    draw = torch.Generator().manual_seed(0)

    def tokens(count: int) -> list[int]:
        return torch.randint(0, vocabulary, (count,), generator=draw).tolist()

    prefix = tokens(min(window, 24) + 3)
    rows = [TokenRow(0, 0, prefix, tokens(5)), TokenRow(0, 1, prefix, tokens(9))]
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            nll = [network.read(rows, (1, 2), name).losses().nll for name in ("padded", "shared")]
    except Exception as error:  # an architecture that refuses the mask falls back, with the reason
        return "padded", f"shared prefix failed: {type(error).__name__}: {error}"[:200]
    finally:
        model.train(training)
    gap = float((nll[0] - nll[1]).abs().max())
    tolerance = LAYOUT_TOLERANCE if causal.dtype != torch.bfloat16 else 0.1
    if gap < tolerance:
        return "shared", ""
    return "padded", f"shared prefix gives other numbers (NLL off by {gap:.1e})"
