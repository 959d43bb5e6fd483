"""A mark on settings that a search may choose."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tunable:
    """Marks a config field as tunable: `beta: Annotated[float, Tunable(0, 3)] = 1.0`.

    log: search on a logarithmic scale. simplex: fields that have one name here are searched as
    shares of the sum of their defaults, since only their ratios matter, or their scale is another
    setting's to carry; such a field's range is from 0 to that sum.
    """

    low: float
    high: float
    log: bool = False
    simplex: str = ""
