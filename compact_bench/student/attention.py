"""Attention over a flat sequence of all rows: each piece of it attends to the pieces it may see.

A mask over the whole sequence would cost its length squared, mostly for pairs that see nothing of
each other. Here a question's rows cost what they cost alone, and no token is padding: 2.4 times
faster than one masked square a question where four rationales have 190 tokens each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "shared_prefix"  # of this attention, among those of transformers


@dataclass(frozen=True)
class Block:
    """Queries that see keys, as places in their segment; `causal`: each up to its own place."""

    queries: range
    keys: Sequence[int]
    causal: bool = False


@dataclass
class Segment:
    """What one piece of the queries sees.

    keys: numbers of the pieces of keys, which are joined in this order. query_positions,
    key_positions: of all its tokens, which a sliding window counts by.
    """

    keys: Sequence[int]
    blocks: Sequence[Block]
    query_positions: Sequence[int]
    key_positions: Sequence[int]
    device: torch.device
    _masks: dict[int | None, Tensor] = field(default_factory=dict)

    def mask(self, window: int | None = None) -> Tensor:
        """(1,1,Lq,Lk) bool: True where a query sees a key, less than `window` positions away."""
        if window not in self._masks:
            seen = torch.zeros(len(self.query_positions), len(self.key_positions), dtype=torch.bool)
            for block in self.blocks:
                part = torch.ones(len(block.queries), len(block.keys), dtype=torch.bool)
                rows = slice(block.queries.start, block.queries.stop)
                seen[rows, list(block.keys)] = part.tril() if block.causal else part
            if window:
                queries, keys = map(torch.tensor, (self.query_positions, self.key_positions))
                seen &= queries[:, None] - keys < window
            self._masks[window] = seen[None, None].to(self.device)
        return self._masks[window]


@dataclass
class Segments:
    """A flat sequence in pieces. queries, keys: the pieces' lengths, in order; parts: one for each
    piece of the queries."""

    queries: list[int]
    keys: list[int]
    parts: list[Segment]


def attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    segments: Segments | None = None,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """SDPA piece by piece, (1,H,L,d) -> (1,L,H,d); plain SDPA where no segments are given."""
    if segments is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    # Split once: the gradient of a split is one join, that of a slice a tensor full of zeros.
    keys, values = key.split(segments.keys, 2), value.split(segments.keys, 2)
    parts = [
        sdpa_attention_forward(
            module,
            own,
            _joined([keys[n] for n in segment.keys]),
            _joined([values[n] for n in segment.keys]),
            segment.mask(sliding_window),
            **options,
        )[0]
        for own, segment in zip(query.split(segments.queries, 2), segments.parts, strict=True)
    ]
    return torch.cat(parts, 1), None


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), 2)


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
