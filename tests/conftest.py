"""Small suites, methods and data that the tests of several modules use."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import yaml

# A busy machine is no fault of the code: no example has a deadline, and none is too slow to make.
hypothesis.settings.register_profile(
    "compact_bench",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("compact_bench")

STUBS = Path(__file__).parent / "stubs"
TEACHERS = ("ada", "bob")


def draw_nothing(patch: pytest.MonkeyPatch) -> None:
    """Have reports, and those of searches, tables and no figures.

    Drawing them takes longer than all else that a tiny suite does; the tests of report/ draw.
    """
    patch.setattr("compact_bench.report.page.build_figures", lambda results: [])
    patch.setattr("compact_bench.tune.report.figures.build", lambda search: [])


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw nothing in this test."""
    draw_nothing(monkeypatch)


def one_thread_a_cell(patch: pytest.MonkeyPatch) -> None:
    """Have plans see one core, so that each cell has one thread on any machine.

    Equal bits are promised with one thread: with two, the same losses were unequal in 4 of 16 runs
    on busy cores (by 2e-7).
    """
    patch.setattr("compact_bench.execution.plan.available_cores", lambda: 1)


def plugins_in(parent: Path) -> Path:
    """Make the folder of `plugins` in another one."""
    folder = parent / "plugins"
    folder.mkdir()
    shutil.copy(STUBS / "dummy.py", folder)
    return folder


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    """A folder of plugins with the methods `dummy` and `still`."""
    return plugins_in(tmp_path)


def _rows(first: int, count: int, rationales: bool) -> list[dict[str, Any]]:
    rows = []
    for number in range(first, first + count):
        question = f"Ann has {number} apples and buys {number % 7 + 1} more. How many?"
        answer = str(number + number % 7 + 1)
        row: dict[str, Any] = {"question": question, "answer": answer}
        if rationales:
            text = f"{number} + {number % 7 + 1} = {answer}. The answer is {answer}"
            row["rationales"] = dict.fromkeys(TEACHERS, text)
        rows.append(row)
    return rows


@pytest.fixture
def data_files(tmp_path: Path) -> tuple[Path, Path]:
    """A training and a test JSONL file of a user's own, without a question in common."""
    return data_files_in(tmp_path)


def data_files_in(folder: Path) -> tuple[Path, Path]:
    """Write the `data_files` into a folder."""
    train, test = folder / "train.jsonl", folder / "test.jsonl"
    for path, rows in ((train, _rows(0, 30, True)), (test, _rows(100, 6, False))):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return train, test


def tiny_suite(train: Path, test: Path) -> dict[str, Any]:
    """A suite on a user's own files with the methods of `plugins`, as plain values."""
    return {
        "suite": "tiny",
        "title": "A tiny suite",
        "compare_to": "still",
        "methods": ["still", "dummy"],
        "seeds": [0, 1],
        "data": {"source": str(train), "test_source": str(test), "answer": "number"},
        "training": {"learning_rate": 0.001, "epochs": 1, "batch_size": 2},
        "evaluation": {
            "marginal_samples": 0,
            "tasks": [{"task": "in_domain", "role": "reasoning"}],
        },
        "profiles": {"mini": {}, "laptop": {"seeds": [5]}},
    }


@pytest.fixture
def suite_values(data_files: tuple[Path, Path]) -> dict[str, Any]:
    """The tiny suite on `data_files`, as plain values."""
    return tiny_suite(*data_files)


@pytest.fixture
def write_suite(tmp_path: Path, suite_values: dict[str, Any]) -> Callable[..., Path]:
    """Write `suite_values`, with top keys replaced, as a file; return its path."""

    def write(**keys: Any) -> Path:
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(suite_values | keys, sort_keys=False))
        return path

    return write
