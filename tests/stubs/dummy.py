"""Methods for the tests of everything but methods."""

from typing import Annotated, ClassVar

from compact_bench.api import Distiller, Tunable


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


class Knobs(Distiller):
    """Has settings of every kind that can be searched."""

    name: ClassVar[str] = "knobs"
    version: ClassVar[int] = 1
    reference: ClassVar[str] = "none"

    class Config(Distiller.Config):
        x: Annotated[float, Tunable(0, 1)] = 0.9
        a: Annotated[float, Tunable(0, 2, simplex="s")] = 0.5
        b: Annotated[float, Tunable(0, 2, simplex="s")] = 1.5
        n: Annotated[int, Tunable(1, 8)] = 2
        scale: Annotated[float, Tunable(0.01, 100, log=True)] = 1.0
        unused: Annotated[float, Tunable(0, 1)] = 0.0
        free: float = 0.0
        behave: str = "done"

        def idle(self) -> set[str]:
            return {"unused"}
