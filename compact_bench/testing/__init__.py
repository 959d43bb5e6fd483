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

import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compact_bench.methods.base import Distiller
from compact_bench.testing import declared, training
from compact_bench.testing.workbench import NotApplicable, Skipped, Workbench

FUNCTIONS: tuple[Callable[[Workbench], None], ...] = (
    *(declared.identity, declared.config, declared.variants, declared.decoding),
    *(training.gradient, training.weights, training.one_rationale, training.missing_teachers),
    *(training.permutation, training.layouts, training.cost),
    *(training.random_state, training.repetition, training.resume),
)


@dataclass(frozen=True)
class Check:
    """One check of one method; what several checks need is computed once for a bench."""

    function: Callable[[Workbench], None]
    bench: Workbench

    @property
    def name(self) -> str:
        """What tables and `exempt` call it."""
        return self.function.__name__

    @property
    def description(self) -> str:
        """What must hold, in a line."""
        return (self.function.__doc__ or "").splitlines()[0]

    def run(self) -> str:
        """Return "" where it holds, or "not applicable: REASON" or "skipped: REASON".

        Raises AssertionError where it doesn't hold, with what was expected and what was found.
        """
        exempt, names = self.bench.method.exempt, [f.__name__ for f in FUNCTIONS]
        for name, reason in exempt.items() if self.function is declared.identity else ():
            assert name in names, f"exempt: expected names among {', '.join(names)}, got {name!r}"
            assert reason, f"exempt: expected a reason for {name!r}, got none"
        if self.name in exempt:
            return f"not applicable: {exempt[self.name]}"
        try:
            self.function(self.bench)
        except Skipped as reason:
            return f"skipped: {reason}"
        except NotApplicable as reason:
            return f"not applicable: {reason}"
        except AssertionError:
            raise
        except Exception as error:  # whatever the method raises means that the check fails
            text = " ".join(f"{type(error).__name__}: {error}".split())
            raise AssertionError(text + _last_line(error, self.bench.method)) from error
        return ""

    def result(self) -> Result:
        """Run it; a failure is a result, not an exception."""
        try:
            reason = self.run()
        except AssertionError as error:
            return Result(self.name, "FAILED", str(error), self.description)
        state, _, why = reason.partition(": ")
        return Result(self.name, state or "ok", why, self.description)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Result:
    """What became of a check: result is "ok", "FAILED", "not applicable" or "skipped"."""

    check: str
    result: str
    why: str
    description: str


def _last_line(error: BaseException, method: type[Distiller]) -> str:
    """Where an error came through the method's own file: its last line there, or ""."""
    file = getattr(sys.modules.get(method.__module__), "__file__", None)
    own = [one for one in traceback.extract_tb(error.__traceback__) if one.filename == file]
    if not own:
        return ""
    last = own[-1]
    return f" ({Path(last.filename).name}:{last.lineno}, in {last.name}: {last.line})"


def checks(method: type[Distiller], settings: Mapping[str, Any] | None = None) -> list[Check]:
    """All checks of a method, with its default settings or with these.

    Run them in one process, as they share a bench. Raises pydantic's ValidationError where the
    method's Config doesn't take the settings.
    """
    bench = Workbench(method, settings or {})
    return [Check(function, bench) for function in FUNCTIONS]


def run_checks(method: type[Distiller], settings: Mapping[str, Any] | None = None) -> list[Result]:
    """Run all checks of a method; a failure is a result, not an exception."""
    return [check.result() for check in checks(method, settings)]


__all__ = ["Check", "Result", "checks", "run_checks"]
