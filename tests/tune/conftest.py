"""A tiny suite whose row `knobs` a stub cell trains at once; a search made up for figures."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from compact_bench.execution.plan import Options
from compact_bench.execution.pool import WorkerEntry
from compact_bench.suite.schema import load_suite
from compact_bench.tune import trials
from compact_bench.tune.search import TuneOptions, tune
from compact_bench.tune.trials import FAILED, PRUNED, Search
from tests.conftest import data_files_in, plugins_in, tiny_suite
from tests.synthetic_search import RATE, SUITE, bowl, made, study, with_state

STUBS = Path(__file__).parent.parent / "stubs"
ENTRY = WorkerEntry(threads=1, cell="stub_cells:tuned_cell", check="stub_cells:check")
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
    let_workers_find_stubs(monkeypatch)


def let_workers_find_stubs(patch: pytest.MonkeyPatch) -> None:
    # This tree, too: another one may be installed.
    patch.setenv("PYTHONPATH", os.pathsep.join(map(str, (STUBS, STUBS.parent.parent))))


def options_in(parent: Path, plugins: Path) -> Options:
    """Results in a folder of the test's own, one job."""
    return Options(parent / "results", None, (plugins,), (), 1)


@pytest.fixture
def options(tmp_path: Path, plugins: Path) -> Options:
    """Options of a search in the test's folder."""
    return options_in(tmp_path, plugins)


def keys_with(**section: Any) -> dict[str, Any]:
    """KEYS with a section `tune`; the stub cells have a marginal NLL that trials differ in."""
    defaults = {"trials": 6, "reports": [0.5, 0.9], "objective": ["marginal_nll"]}
    return KEYS | {"tune": defaults | section}


@pytest.fixture
def suite(write_suite) -> Callable[..., Any]:
    """Load the tiny suite, with keys of its `tune` section, or others by `keys`."""

    def load(keys: dict[str, Any] | None = None, **section: Any):
        return load_suite(write_suite(**keys_with(**section) | (keys or {})), "mini")

    return load


def search_rows(
    suite: Any, options: Options, names: tuple[str, ...], **asked: Any
) -> tuple[int, list[str]]:
    """Tune rows of a suite, their cells trained by a stub; return exit code and lines."""
    lines: list[str] = []
    return tune(suite, options, TuneOptions(names, **asked), lines.append, ENTRY), lines


@pytest.fixture
def go(options: Options) -> Callable[..., tuple[int, list[str]]]:
    """Tune rows of a suite without the test; return exit code and lines."""

    def run(suite: Any, *names: str, **asked: Any):
        return search_rows(suite, options, names, **{"test": False} | asked)

    return run


@pytest.fixture
def folder(options: Options) -> Path:
    """Where the tiny suite's search lies."""
    return options.results / "tiny" / "mini" / "tune"


@pytest.fixture
def read(folder: Path) -> Callable[[], trials.Search]:
    """Read what was found."""
    return lambda: trials.read(folder)


@pytest.fixture(scope="session")
def tested_once(tmp_path_factory) -> tuple[int, Path]:
    """Exit code and results of a search of two rows with its test; `tested` has a copy."""
    parent = tmp_path_factory.mktemp("tested")
    path = parent / "tiny.yaml"
    values = tiny_suite(*data_files_in(parent)) | keys_with(trials=5, pruner="none")
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    options = options_in(parent, plugins_in(parent))
    with pytest.MonkeyPatch.context() as patch:
        let_workers_find_stubs(patch)
        code, _ = search_rows(load_suite(path, "mini"), options, ("knobs", "dummy"))
    return code, options.results


@pytest.fixture
def tested(tested_once, options, folder):
    """A search of two rows with its test: exit code, results of the test."""
    code, results = tested_once
    shutil.copytree(results, options.results)
    return code, folder / "tiny_tuned" / "mini"


@pytest.fixture(scope="session")
def search() -> Search:
    """A study with pruned, failed and diverged trials, and one with one hyperparameter."""
    ours = made(bowl, 20)
    ours = with_state(ours, 5, PRUNED, reports=((20, 2.5), (40, 2.2)))
    ours = with_state(ours, 6, FAILED, reason="out of memory")
    diverged = replace(ours.trials[7], values=(900.0,))
    ours = replace(ours, trials=(*ours.trials[:7], diverged, *ours.trials[8:]))
    plain = study((RATE,), [(1.7 - 0.01 * i,) for i in range(6)], label="plain [x=1]")
    return Search(SUITE, (ours, plain), ("the dev split has 120 questions",))
