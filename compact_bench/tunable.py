"""A mark on settings that a search may choose."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tunable:
    """Marks a config field as tunable: `beta: Annotated[float, Tunable(0, 3)] = 1.0`."""

    low: float
    high: float
    log: bool = False
