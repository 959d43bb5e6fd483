"""The language-model head, applied to few positions and in chunks.

So no (B,R,T,V) tensor exists unless a method asks for logits: with 49,152 tokens in the
vocabulary it would be the largest tensor of a step by far.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from compact_bench.student.batch import Batch, FullStates, Output
from compact_bench.student.layouts import Placement, TokenRow

CHUNK_LOGITS = 2**24  # at most this many logits at a time: 64 MiB in float32


def wide(logits: Tensor) -> Tensor:
    """Logits in float32 at least: a softmax over a large vocabulary loses too much in bf16."""
    return logits if logits.dtype == torch.float64 else logits.float()


class Head:
    """The head of a causal language model with its final scaling."""

    def __init__(self, causal: Any) -> None:
        self.module = causal.get_output_embeddings()
        config = causal.config
        self.softcap = getattr(config, "final_logit_softcapping", None)
        self.scaling = getattr(config, "logits_scaling", None)
        self.vocabulary = self.module.weight.shape[0]

    def __call__(self, states: Tensor) -> Tensor:
        """(..., D) -> (..., V)."""
        logits = wide(self.module(states))
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
        # Recomputed in the backward pass, or the chunks' logits would all be kept for it.
        parts = [checkpoint(self._nll, s, t, use_reentrant=False) for s, t in chunks]
        return torch.cat(parts)

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

    def _chunks(self, states: Tensor, target: Tensor) -> list[tuple[Tensor, Tensor]]:
        size = max(1, CHUNK_LOGITS // self.vocabulary)
        return list(zip(states.split(size), target.split(size), strict=True))


@dataclass
class Passed:
    """One pass. rows: what was read; shape: (B,R); hidden: (Q,L,D) after the final norm.

    layers: (Q,L,D) each, from the embedding on; cache: keys and values. Both only where asked.
    """

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

    def losses(self, head: Head, wanted: Collection[str]) -> Output:
        """The mean NLL of each row, and the values by token that were asked for."""
        placement, states = self.placement, self.predictors
        token_nll = head.token_nll(states, placement.target)  # (N,)
        slot = self.slots[placement.row]  # (N,)
        total = token_nll.new_zeros(self.cells).index_add(0, slot, token_nll)
        count = torch.bincount(slot, minlength=self.cells)
        out = Output(
            nll=(total / count.clamp_min(1)).view(self.shape), lengths=count.view(self.shape)
        )
        if "token_nll" in wanted:
            out.token_nll = self.by_token(token_nll, slot, placement.offset)
        if "token_rank" in wanted:
            rank = head.token_rank(states.detach(), placement.target)
            out.token_rank = self.by_token(rank, slot, placement.offset)
        return out

    def by_token(self, values: Tensor, slot: Tensor, offset: Tensor) -> Tensor:
        """Values of tokens (n,...) -> (B,R,T,...), 0 beyond a row's end."""
        longest = int(offset.max()) + 1
        grid = values.new_zeros(self.cells, longest, *values.shape[1:])
        grid = grid.index_put((slot, offset), values)
        return grid.view(*self.shape, longest, *values.shape[1:])

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

    def logits(self, head: Head, batch: Batch, where: str) -> Tensor:
        """(B,R,T,V) at the answer's tokens, the target's tokens or all positions."""
        if where == "all":
            return head(self.full().hidden)
        if where not in ("target", "answer"):
            raise ValueError(f"logits:{where}; allowed: logits:answer, logits:target, logits:all")
        placement = self.placement
        starts = [answer_start(row, batch) if where == "answer" else 0 for row in self.rows]
        first = torch.tensor(starts, dtype=torch.int64, device=self.hidden.device)
        offset = placement.offset - first[placement.row]
        keep = offset >= 0
        logits = head(self.predictors[keep])  # (n,V)
        return self.by_token(logits, self.slots[placement.row[keep]], offset[keep])


def answer_start(row: TokenRow, batch: Batch) -> int:
    """Where in a row's target its answer begins: the whole target may be the answer."""
    whole = batch.rationale_ids[row.question][row.slot]
    return batch.answer_start[row.question][row.slot] if row.target == whole else 0
