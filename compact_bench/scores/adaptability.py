"""How much a rationale moves the student towards the gold answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compact_bench.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


def logit_rises(hidden: Tensor, head_rows: Tensor, position_weight: Tensor) -> Tensor:
    """Sum of the rises of the gold answer's mean logit along the row.

    s_t = mean_j h_t . W[a_j];  M = sum_{t >= 1} m_t relu(s_t - s_{t-1})

    hidden: (..., T, D); head_rows: (A, D), rows of the language-model head for the answer's
    tokens; position_weight m: (..., T). Returns (...), in logits. As in COMPACT's release
    (arXiv 2601.13992): it runs over prompt and padding too.
    """
    logit = (hidden @ head_rows.T).mean(-1)  # (..., T)
    rise = torch.relu(logit[..., 1:] - logit[..., :-1])
    return (position_weight[..., 1:] * rise).sum(-1)
