"""A sound method, from which broken ones are made, and how one check is run on it."""

from __future__ import annotations

from typing import ClassVar

import torch

from compact_bench.api import Distiller
from compact_bench.testing import checks


class Sound(Distiller):
    """Weights by length; what broken ones are made from."""

    name: ClassVar[str] = "sound"
    version: ClassVar[int] = 1
    reference: ClassVar[str] = "none"

    class Config(Distiller.Config):
        scale: float = 10.0

    def weights(self, out, batch):
        length = out.lengths.float().masked_fill(~batch.present, torch.inf)  # (B,R) tokens
        return torch.softmax(-length / self.config.scale, dim=-1)


def run_check(name: str, method: type[Distiller]) -> str:
    """What the check of this name says of the method."""
    (check,) = [check for check in checks(method) if check.name == name]
    return check.run()
