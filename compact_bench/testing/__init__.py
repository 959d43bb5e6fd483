"""Conformance checks: what a benchmark must be able to take for granted of every method.

They need nothing but the installed package: the nano student and a few generated questions. In
the tests of a package of your own:

    @pytest.mark.parametrize("check", checks(MyMethod), ids=str)
    def test_conformance(check):
        if reason := check.run():
            pytest.skip(reason)

`python -m compact_bench test NAME` runs the same checks without pytest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from compact_bench.methods.base import Distiller
from compact_bench.testing import declared, steps, training
from compact_bench.testing.workbench import Skipped, Workbench

FUNCTIONS: tuple[Callable[[Workbench], str], ...] = (
    *(declared.identity, declared.config, declared.variants, declared.decoding),
    *(steps.gradient, steps.weights, steps.one_rationale, steps.missing_teachers),
    *(steps.permutation, steps.layouts, steps.random_state),
    *(training.repetition, training.resume),
)

NAMES = tuple(function.__name__ for function in FUNCTIONS)


@dataclass(frozen=True)
class Check:
    """One check of one method.

    description: what must hold, in a line. `run` returns "" where it holds, or why it was not
    tried: "not applicable: ..." or "skipped: ...". It raises AssertionError where it doesn't
    hold, with what was expected and what was found.
    """

    name: str
    description: str
    run: Callable[[], str]

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Result:
    """What became of a check: result is "ok", "FAILED", "not applicable" or "skipped"."""

    check: str
    result: str
    why: str
    description: str

    def as_dict(self) -> dict[str, str]:
        """The fields by name."""
        return asdict(self)


def checks(method: type[Distiller], settings: Mapping[str, Any] | None = None) -> list[Check]:
    """All checks of a method, with its default settings or with these.

    What several checks need is computed once, so run them in one process. Raises pydantic's
    ValidationError where the method's Config doesn't take the settings.
    """
    bench = Workbench(method, settings or {})
    return [
        Check(function.__name__, (function.__doc__ or "").splitlines()[0], _bound(function, bench))
        for function in FUNCTIONS
    ]


def run_checks(method: type[Distiller], settings: Mapping[str, Any] | None = None) -> list[Result]:
    """Runs all checks of a method; a failure is a result, not an exception."""
    return [_result(check) for check in checks(method, settings)]


def _bound(function: Callable[[Workbench], str], bench: Workbench) -> Callable[[], str]:
    def run() -> str:
        name = function.__name__
        if name == declared.identity.__name__:
            declared.exemptions(bench, NAMES)
        if name in bench.method.exempt:
            return f"not applicable: {bench.method.exempt[name]}"
        try:
            reason = function(bench)
        except Skipped as skipped:
            return f"skipped: {skipped}"
        except AssertionError:
            raise
        except Exception as error:  # whatever the method raises means that the check fails
            raise AssertionError(f"{type(error).__name__}: {error}") from error
        return f"not applicable: {reason}" if reason else ""

    return run


def _result(check: Check) -> Result:
    try:
        reason = check.run()
    except AssertionError as error:
        return Result(check.name, "FAILED", str(error), check.description)
    state, _, why = reason.partition(": ")
    return Result(check.name, state or "ok", why, check.description)


__all__ = ["Check", "Result", "checks", "run_checks"]
