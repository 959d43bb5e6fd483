"""From scores to weights: normalise, combine, softmax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from compact_bench.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


def within_question_z(score: Tensor) -> Tensor:
    """z = (x - mean) / (std + 1e-4) over one question's rationales; all ones for one rationale.

    score: (R,), unbiased std. As in COMPACT's release (arXiv 2601.13992).
    """
    if score.numel() == 1:
        return torch.ones_like(score)
    return (score - score.mean()) / (score.std() + 1e-4)


def softmax_weights(
    scores: Sequence[Tensor], betas: Sequence[float], temperature: float = 1.0
) -> Tensor:
    """w = softmax(sum_i beta_i z_i / temperature) over the last dimension, detached."""
    utility = sum(
        (beta * z for beta, z in zip(betas, scores, strict=True)), torch.zeros_like(scores[0])
    )
    return torch.softmax(utility / temperature, dim=-1).detach()
