"""An archive gives back the cells that went into it, and stands beside a live run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compact_bench.analysis.results import read
from compact_bench.errors import UserError
from compact_bench.records import archive
from compact_bench.records.cells import Cell, CellWriter, read_cell, read_cells
from compact_bench.records.published import publish_records
from tests import synthetic
from tests.synthetic import Made

FLOATS = st.one_of(st.none(), st.floats(allow_nan=False, width=64))
ROWS = st.lists(st.dictionaries(st.sampled_from("abc"), FLOATS), max_size=4)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A live run with a failed cell, hidden states, curves, and its publication."""
    made = Made(labels=("base", "average", "compact"), seeds=(0, 1), items=8, steps=3,
                states={("compact", 1): ("failed", "out of memory")})  # fmt: skip
    root = synthetic.make(tmp_path / "live", made)
    publish_records(root, tmp_path / "published")
    return root, tmp_path / "published"


def assert_same(mine: Cell, other: Cell) -> None:
    assert (mine.run_id, mine.spec, mine.env) == (other.run_id, other.spec, other.env)
    assert mine.status == other.status
    known = [
        [{name: value for name, value in sample.items() if value is not None} for sample in samples]
        for samples in (mine.samples(), other.samples())
    ]
    assert known[0] == known[1]  # what an item lacks is None in an archive
    pd.testing.assert_frame_equal(mine.item_table().to_pandas(), other.item_table().to_pandas())
    for kind in archive.TABLES[:-1]:
        tables = [cell.table(kind) for cell in (mine, other)]
        left, right = (table and table.replace_schema_metadata() for table in tables)
        assert (left is None) == (right is None), kind
        assert left is None or left.equals(right), kind


def test_every_record_of_every_cell_comes_back(folders: tuple[Path, Path]) -> None:
    live, published = map(read_cells, folders)
    assert len(live) == len(published) == 5 and not (folders[1] / "runs").exists()
    for mine, other in zip(live, published, strict=True):
        assert_same(mine, other)
    assert [cell.state for cell in live].count("failed") == 1
    steps = next(cell for cell in published if cell.spec.get("label") == "average")
    assert list(steps.steps(["step", "never"])) == ["step", "never"]


CELLS = st.dictionaries(st.text("0123456789abcdef", min_size=1, max_size=3), ROWS, max_size=4)


@given(CELLS)
def test_tables_of_unlike_columns_come_back(
    tmp_path_factory: pytest.TempPathFactory, cells: dict[str, list[dict[str, float]]]
) -> None:
    root = tmp_path_factory.mktemp("archive")
    tables = {
        run_id: pa.table({n: pa.array([r.get(n) for r in rows], pa.float64()) for n in names})
        for run_id, rows in cells.items()
        if (names := sorted({name for row in rows for name in row}))
    }
    archive.write_archive(
        root,
        {run_id: ({}, {}, {"state": "done"}) for run_id in cells},
        lambda run_id, kind: tables.get(run_id) if kind == "steps" else None,
    )
    read_back = archive.Archive(root)
    assert read_back.cells.keys() == cells.keys()
    for run_id in cells:
        table, written = read_back.table(run_id, "steps"), tables.get(run_id)
        assert table == written if written is None else table.equals(written)
        only = read_back.table(run_id, "steps", {"a", "z"}.__contains__)
        assert written is None or only.column_names == [n for n in written.column_names if n == "a"]


def test_a_live_cell_comes_before_the_published_one(folders: tuple[Path, Path]) -> None:
    _, published = folders
    failed = next(cell for cell in read_cells(published) if cell.state == "failed")
    CellWriter(failed.folder).status("done")
    again = {cell.run_id: cell for cell in read_cells(published)}
    assert again[failed.run_id].state == "done" and len(again) == 5
    assert read_cell(published / "runs" / "unknown").state == "missing"


def test_the_numbers_are_the_same_from_both_forms(folders: tuple[Path, Path]) -> None:
    live, published = map(read, folders)
    assert live.measures == published.measures
    for mine, other in zip(live.rows, published.rows, strict=True):
        assert mine.values == other.values and mine.problems() == other.problems()


def test_a_missing_or_cut_off_file_is_one_line(folders: tuple[Path, Path], tmp_path: Path) -> None:
    for name, content in (("gone", None), ("cut", b"PAR1")):
        copy = tmp_path / name
        shutil.copytree(folders[1], copy)
        if content is None:
            (copy / "steps.parquet").unlink()
        else:
            (copy / "steps.parquet").write_bytes(content)
        cell = next(cell for cell in read_cells(copy) if cell.spec.get("label") == "average")
        assert len(cell.eval())
        with pytest.raises(UserError, match=r"cannot read .*steps\.parquet"):
            cell.steps()
