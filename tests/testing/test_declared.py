"""What a method declares: every check fails for a method that breaks it, and says how."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, Field, field_serializer

from compact_bench.api import Distiller
from tests.testing.methods import Sound, run_check


class NoBibtex(Sound):
    """Names a source and doesn't say how to cite it."""

    reference = "arXiv:1234.56789"


class UnknownExemption(Sound):
    """Is exempt from a check that doesn't exist."""

    exempt: ClassVar = {"wights": "a typing error"}


class ForgetsASetting(Sound):
    """Its config can't be read back from its own JSON."""

    class Config(Distiller.Config):
        scale: float = Field(default=10.0, exclude=True)

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)

    @classmethod
    def variants(cls, config, teachers):
        return [config.model_copy(update={"scale": 5.0})]


class WritesNumbersAsText(Sound):
    """Its config is another one once it was read back."""

    class Config(Distiller.Config):
        scale: float | str = 10.0

        @field_serializer("scale")
        def as_text(self, value: Any) -> str:
            return str(value)


class TakesAnySetting(Sound):
    """Ignores a mistyped setting."""

    class Config(BaseModel):
        scale: float = 10.0


class TwoRowsOneLabel(Sound):
    """Its rows can't be told apart in a table."""

    @classmethod
    def variants(cls, config, teachers):
        return [cls.Config(scale=scale) for scale in (1.0, 2.0)]


class DecodesByName(Sound):
    """Gives the prompt's name instead of a Decoding."""

    def decoding(self):
        return "plain"


# check, a method that breaks what it checks, a part of the message
BROKEN = [
    ("identity", NoBibtex, r"bibtex: expected an entry .* got ''"),
    ("identity", UnknownExemption, r"exempt: expected names among .*weights.* got 'wights'"),
    ("config", ForgetsASetting, r"expected Config\(scale=5.0\) to be read back, got .*10.0"),
    ("config", WritesNumbersAsText, r"expected Config\(scale=10.0\) .* got Config\(scale='10.0'\)"),
    ("config", TakesAnySetting, "expected an unknown setting to be refused, it was taken"),
    ("variants", TwoRowsOneLabel, r"expected one for each of 2 rows, got \['sound'\] twice"),
    ("decoding", DecodesByName, "expected a Decoding, got 'plain'"),
]


@pytest.mark.parametrize(
    ("name", "method", "message"), BROKEN, ids=[f"{row[0]}-{row[1].__name__}" for row in BROKEN]
)
def test_a_broken_method_fails_the_check(name, method, message):
    with pytest.raises(AssertionError, match=message):
        run_check(name, method)
