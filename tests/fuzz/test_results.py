"""A damaged results folder is read as far as it can be, or refused in one line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compact_bench.analysis.results import read
from compact_bench.report import terminal
from compact_bench.report.page import build_tables
from tests import synthetic
from tests.fuzz.mutations import fuzzed, refused_or_done, spoiled_bytes
from tests.synthetic import Made


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Made(labels=("base", "average"), items=4, steps=1, seeds=(0, 1))
    return synthetic.make(tmp_path_factory.mktemp("whole"), made)


def spoil(path: Path, data: st.DataObject) -> None:
    """Change a file's bytes, as a failing disk or an editor does, or remove it."""
    if data.draw(st.integers(0, 4)):
        path.write_bytes(data.draw(spoiled_bytes(path.read_bytes())))
    else:
        path.unlink()


@fuzzed(15)
@given(data=st.data())
def test_reports_of_damaged_records(data: st.DataObject, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in data.draw(st.lists(st.sampled_from(files), min_size=1, max_size=2, unique=True)):
        spoil(path, data)

    def report() -> None:
        results = read(folder)
        terminal.summary(results)
        build_tables(results)

    refused_or_done(report)
