"""latent.parquet as arrays: in any order of its lines, and with one line where it is broken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compact_bench.errors import UserError
from compact_bench.records.cells import Cell, CellWriter, read_cells
from compact_bench.records.hidden_states import LatentRecord, read_record
from tests import synthetic
from tests.synthetic import Made


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Cell]:
    made = Made(latent=True, steps=2, seeds=(0,), labels=("base", "compact"))
    root = synthetic.make(tmp_path_factory.mktemp("latent"), made)
    return {cell.spec["label"]: cell for cell in read_cells(root)}


def test_states_are_those_of_the_file(cells: dict[str, Cell]) -> None:
    record, frame = read_record(cells["compact"]), cells["compact"].frame("latent")
    assert record is not None
    for number, layer in enumerate(record.layers):
        for place, (task, question_id) in enumerate(record.probes):
            line = frame[
                (frame["kind"] == "student") & (frame["layer"] == layer)
                & (frame["task"] == task) & (frame["question_id"] == question_id)
            ]  # fmt: skip
            assert np.array_equal(record.states[number, place], line["values"].iloc[0])


def test_probes_in_another_order_are_put_in_the_base_s(cells: dict[str, Cell], tmp_path) -> None:
    mixed = cells["compact"].frame("latent").sample(frac=1, random_state=1)
    CellWriter(tmp_path).table("latent", mixed)
    base, straight = read_record(cells["base"]), read_record(cells["compact"])
    again = read_record(Cell("x", tmp_path))
    assert base is not None and straight is not None and again is not None
    again = again.matched(base)
    assert again is not None
    assert np.array_equal(again.states, straight.states)
    assert np.array_equal(again.random, straight.random)
    assert np.array_equal(again.change, straight.change)


def test_labels_are_by_probe_and_unknown_where_there_is_none() -> None:
    record = LatentRecord((0,), (("t", "a"), ("t", "b"), ("t", "c")), np.zeros((1, 3, 2)))
    labelled = record.labelled({("t", "a"): 1.0, ("t", "b"): 0.0})
    assert labelled.right.tolist() == [True, False, False]
    assert labelled.known.tolist() == [True, True, False]


def test_broken_records_are_one_line(cells: dict[str, Cell], tmp_path: Path) -> None:
    CellWriter(tmp_path).table("latent", cells["compact"].frame("latent").iloc[1:])
    with pytest.raises(UserError, match=r"latent.parquet.*different prompts"):
        read_record(Cell("x", tmp_path))
    (tmp_path / "latent.parquet").write_bytes(b"no table")
    with pytest.raises(UserError, match=r"cannot read .*latent.parquet"):
        read_record(Cell("x", tmp_path))
