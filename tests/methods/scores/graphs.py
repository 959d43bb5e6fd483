"""Random graphs of rationales, and what hypothesis draws them from."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor

SIZES = st.integers(1, 6)
SEEDS = st.integers(0, 10_000)


def random_graph(size: int, seed: int, density: float) -> Tensor:
    """(R,R) symmetric, non-negative, zero diagonal; edges with the given probability."""
    draw = torch.Generator().manual_seed(seed)
    weights = torch.rand(size, size, generator=draw, dtype=torch.float64) + 0.05
    there = torch.rand(size, size, generator=draw) < density
    upper = torch.triu(weights * there, diagonal=1)
    return upper + upper.T


def random_states(size: int, seed: int, width: int = 8) -> Tensor:
    """(1,R,D) states of one question's rationales."""
    return torch.randn(1, size, width, generator=torch.Generator().manual_seed(seed))
