"""Scores of a student's compatibility with each rationale: pure functions of tensors.

Sizes: B questions, R rationales a question, S reasoning steps, D hidden size. A score is (B,R)
float32, NaN where a rationale has none; what is absent has none either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def check_finite(values: Tensor, name: str) -> None:
    """Raise ValueError where a value is NaN or infinite: it would poison every later step."""
    if not bool(values.isfinite().all()):
        raise ValueError(f"{name}: NaN or infinite values")
