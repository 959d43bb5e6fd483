"""The student as it was: what every other row starts from."""

from __future__ import annotations

from compact_bench.api import Distiller


class Base(Distiller):
    """No training. Its one cell has no seed."""

    name = "base"
    version = 1
    reference = "none"
    seeded = False
    reads_data = False

    def fit(self, trainer) -> None:
        """Trains nothing."""
