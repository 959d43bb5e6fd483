"""A tiny suite whose row `knobs` a stub cell trains at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compact_bench.plan import Options
from compact_bench.pool import Entry
from compact_bench.suite import load_suite
from compact_bench.tune import trials
from compact_bench.tune.command import Asked, tune

STUBS = Path(__file__).parent.parent / "stubs"
ENTRY = Entry(threads=1, cell="stub_cells:tuned_cell", check="stub_cells:check")
KEYS: dict[str, Any] = {
    "methods": ["still", "knobs", "dummy"],
    "compare_to": "knobs",
    "evaluation": {
        "marginal_samples": 2,
        "tasks": [{"task": "in_domain", "role": "reasoning"}],
    },
    "training": {"learning_rate": 0.002, "epochs": 1, "batch_size": 2},
    "data": {"source": "mini", "train": 4, "dev": 3, "test": 3, "mini": {"problem": "gsm8k"}},
}


@pytest.fixture(autouse=True)
def _stubs(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(STUBS))


@pytest.fixture
def options(tmp_path: Path, plugins: Path) -> Options:
    """Results in a folder of the test's own, one job."""
    return Options(tmp_path / "results", None, (plugins,), (), 1)


@pytest.fixture
def suite(write_suite) -> Callable[..., Any]:
    """Load the tiny suite, with keys of its `tune` section, or others by `keys`."""

    def load(keys: dict[str, Any] | None = None, **section: Any):
        section = {"trials": 6, "reports": [0.5, 0.9]} | section
        return load_suite(write_suite(**KEYS | {"tune": section} | (keys or {})), "mini")

    return load


@pytest.fixture
def go(options: Options) -> Callable[..., tuple[int, list[str]]]:
    """Tune rows of a suite without the test; return exit code and lines."""

    def run(suite: Any, *names: str, options: Options = options, **asked: Any):
        lines: list[str] = []
        asked = {"test": False} | asked
        code = tune(suite, options, Asked(names, **asked), lines.append, ENTRY)
        return code, lines

    return run


@pytest.fixture
def folder(options: Options) -> Path:
    """Where the tiny suite's search lies."""
    return options.results / "tiny" / "mini" / "tune"


@pytest.fixture
def read(folder: Path) -> Callable[[], trials.Search]:
    """Read what was found."""
    return lambda: trials.read(folder)
