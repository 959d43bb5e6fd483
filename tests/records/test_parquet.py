"""Parquet files as tables of the columns that are wanted, and cells' tables as one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from compact_bench.errors import UserError
from compact_bench.records.parquet import (
    NO_SEED,
    by_seed_and_item,
    joined,
    read_arrow,
    read_table,
    select,
)
from compact_bench.utils.files import write_parquet


def test_only_wanted_columns_are_read(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "t.parquet", pd.DataFrame({"a": [1], "b": [0.5], "c": ["x"]}))
    assert list(read_table(path, ["c", "a", "never"])) == ["a", "c"]
    assert read_arrow(path, lambda name: name > "a").column_names == ["b", "c"]


def test_numbers_are_split_into_streams_and_texts_go_through_a_dictionary(tmp_path: Path) -> None:
    frame = pd.DataFrame({"n": [1, 2], "x": [0.5, None], "s": ["a", "a"], "v": [[1.0], [2.0, 3.0]]})
    path = write_parquet(tmp_path / "t.parquet", frame)
    group = pyarrow.parquet.ParquetFile(path).metadata.row_group(0)
    encodings = {}
    for number in range(group.num_columns):
        column = group.column(number)
        assert column.compression == "ZSTD"
        encodings[column.path_in_schema.split(".")[0]] = set(column.encodings)
    assert all("BYTE_STREAM_SPLIT" in encodings[name] for name in "nxv")
    assert "RLE_DICTIONARY" in encodings["s"]
    pd.testing.assert_frame_equal(
        read_table(path).assign(v=[[1.0], [2.0, 3.0]]), frame, check_dtype=False
    )


def test_select_casts_and_fills_in() -> None:
    schema = pa.schema({"a": pa.float64(), "z": pa.string()})
    table = select(pa.table({"b": [1], "a": [2]}), schema)
    assert table.schema == schema and table.to_pylist() == [{"a": 2.0, "z": None}]


def test_a_file_that_is_no_table_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    for path in (tmp_path / "t.parquet", tmp_path / "none.parquet"):
        with pytest.raises(UserError, match=f"cannot read .*{path.name}") as caught:
            read_table(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", [b"null", b"\xff\xfe", b"7"])
def test_a_table_whose_metadata_are_damaged_is_one_line(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "t.parquet"
    pd.DataFrame({"a": [1]}).to_parquet(path, compression=None)
    content = path.read_bytes()
    start = b'{"index_columns"'
    assert start in content
    path.write_bytes(content.replace(start, damage.ljust(len(start))))
    with pytest.raises(UserError, match=r"cannot read .*t.parquet"):
        read_table(path)


def test_cells_stand_below_each_other_with_their_seed() -> None:
    first = pa.table({"task": ["a", "b"], "n": [1, 2]})
    frame = joined([(3, first), (4, None), (None, pa.table({"task": ["c"], "x": [0.5]}))])
    assert frame["seed"].tolist() == [3, 3, NO_SEED]
    assert frame["task"].tolist() == ["a", "b", "c"]
    assert frame["n"].isna().tolist() == [False, False, True]
    assert joined([(0, None), (1, first.slice(0, 0))]).empty


def test_items_by_seed_are_pandas_own_pivot() -> None:
    draw = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "seed": draw.integers(0, 3, 60),
            "question_id": draw.choice(list("abcdef"), 60),
            "right": draw.random(60),
        }
    )
    mine = by_seed_and_item(frame, "right")
    other = frame.pivot_table(index="seed", columns="question_id", values="right", aggfunc="mean")
    assert mine.index.tolist() == other.index.tolist()
    assert mine.columns.tolist() == other.columns.tolist()
    np.testing.assert_allclose(mine.to_numpy(), other.to_numpy(), rtol=1e-12)


def test_the_cell_without_a_seed_has_none() -> None:
    frame = pd.DataFrame({"seed": [NO_SEED, 1], "question_id": ["q", "q"], "right": [1.0, 0.0]})
    assert by_seed_and_item(frame, "right").index.tolist() == [None, 1]
