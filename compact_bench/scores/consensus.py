"""How much the rationales of one question agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compact_bench.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


def attention_affinity(query: Tensor, key: Tensor) -> Tensor:
    """Attention that each rationale's end state receives from the others'.

    P = softmax(q k^T / sqrt(width)) over all R, itself included; then the diagonal is set to 0
    without renormalising; C_k = sum_i P_ik

    query: (R, Dq); key: (R, Dk), Dk dividing Dq: each key feature is repeated in place to the
    query's width, as COMPACT's release does (arXiv 2601.13992). Returns (R,); 0 where R is 1.
    Raises ValueError where the widths don't divide.
    """
    width = query.shape[-1]
    if width % key.shape[-1]:
        raise ValueError(f"key width {key.shape[-1]} does not divide query width {width}")
    key = key.repeat_interleave(width // key.shape[-1], dim=-1)
    attention = torch.softmax(query @ key.T / width**0.5, dim=-1)
    return (attention - torch.diag(torch.diagonal(attention))).sum(0)
