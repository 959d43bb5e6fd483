"""Placebos: what a score or a weight must beat to carry information."""

from __future__ import annotations

from typing import Any

from compact_bench.utils.lazy import Tensor, torch


def shuffled(values: Tensor, present: Tensor, generator: Any) -> Tensor:
    """The values of each question in a random order among its present rationales.

    Keeps each question's values, and so the entropy of weights, but not whose they are.
    values: (B,R); present: (B,R) bool; generator: torch.Generator on the CPU. Returns (B,R), with
    what was there where a rationale is absent.
    """
    draw = torch.rand(present.shape, generator=generator).to(present.device)
    # Absent ones sort behind all others, in both orders alike, and so stay among themselves.
    behind = (~present).to(draw.dtype) * 2
    slots = (behind + torch.linspace(0, 1, present.shape[-1], device=draw.device)).argsort(-1)
    order = (behind + draw).argsort(-1)
    moved = torch.empty_like(values).scatter(-1, slots, values.gather(-1, order))
    return torch.where(present, moved, values)
