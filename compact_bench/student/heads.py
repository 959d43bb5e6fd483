"""The language-model head, applied to few positions and in chunks.

So no (B,R,T,V) tensor exists unless a method asks for logits: with 49,152 tokens in the
vocabulary it would be the largest tensor of a step by far.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

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
