"""How far training is, and the learning rate that belongs there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass
class Position:
    """How far a stage is: optimizer steps done, epochs finished (of the row, not the stage).

    `earlier` counts the steps of the stages before and `flops` what was spent before a later
    stage; `seconds` of training are of all stages.
    """

    step: int = 0
    epoch: int = 0
    earlier: int = 0
    seconds: float = 0.0
    flops: float = 0.0

    @property
    def run(self) -> int:
        """Optimizer steps done in all stages."""
        return self.earlier + self.step


def learning_rate(spec: Any, share: float, step: float) -> float:
    """Linear warm-up, then the schedule, both as functions of the share of the budget spent.

    Follows the budget and not the step number, so that no row stops in mid-schedule. spec: a
    TrainingSpec; step: the share that one step spends, since the first must not have a rate of 0.
    """
    warmup = spec.warmup
    if share < warmup:
        return float(spec.learning_rate * min(1.0, (share + step) / (warmup + step)))
    rest = (share - warmup) / (1 - warmup)
    factor = {
        "cosine": 0.5 * (1 + math.cos(math.pi * rest)),
        "linear": 1 - rest,
        "constant": 1.0,
    }[spec.schedule]
    return float(spec.learning_rate * factor)
