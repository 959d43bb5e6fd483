"""Two methods for the tests of everything but methods."""

from typing import ClassVar

from compact_bench.api import Distiller


class Dummy(Distiller):
    """Does nothing; `behave` tells the stub cell of the tests what to do."""

    name: ClassVar[str] = "dummy"
    version: ClassVar[int] = 1
    reference: ClassVar[str] = "none"

    class Config(Distiller.Config):
        behave: str = "done"
        weights_from: str = ""


class Still(Distiller):
    """Has no randomness, and trains on nothing."""

    name: ClassVar[str] = "still"
    version: ClassVar[int] = 1
    reference: ClassVar[str] = "none"
    seeded: ClassVar[bool] = False
    reads_data: ClassVar[bool] = False
