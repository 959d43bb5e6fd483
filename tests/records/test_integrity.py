"""Checksums of a cell's records, and what is said of a record that isn't what was recorded."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from compact_bench.records import integrity
from compact_bench.records.cells import CellWriter, read_cell


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A cell that is done, with checksums."""
    writer = CellWriter(tmp_path / "runs" / "abc")
    writer.spec({"label": "x"})
    writer.env({"threads": 1})
    writer.eval([{"task": "t", "metric": "accuracy", "value": 0.5}])
    writer.samples([{"task": "t", "question_id": "0", "right": True}])
    writer.table("steps", [{"step": 1, "loss": 0.5}])
    (writer.folder / "log.txt").write_text("no record")
    writer.status("done", records=writer.checksums())
    return writer.folder


def test_checksums_are_of_every_record_and_of_nothing_else(folder):
    recorded = read_cell(folder).status["records"]
    names = {"spec.json", "env.json", "eval.parquet", "samples.jsonl", "steps.parquet"}
    assert set(recorded) == names
    for name in names:
        content = (folder / name).read_bytes()
        assert recorded[name]["bytes"] == len(content)
        assert recorded[name]["sha256"] == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("name", ["env.json", "eval.parquet", "samples.jsonl", "steps.parquet"])
@pytest.mark.parametrize("damage", ["gone", "cut", "one bit"])
def test_a_damaged_record_makes_a_failed_cell_that_says_which(folder, name, damage):
    path = folder / name
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        middle = len(content) // 2
        changed = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        path.write_bytes(content[:-1] if damage == "cut" else changed)
    cell = read_cell(folder)
    expected = "is gone" if damage == "gone" else "is not what was recorded"
    assert cell.state == "failed"
    assert cell.status["reason"] == f"the records were damaged since: {name} {expected}"


def test_logs_and_weights_may_go(folder):
    (folder / "log.txt").unlink()
    assert read_cell(folder).state == "done"


def test_of_records_without_checksums_nothing_can_be_said(folder):
    status = {k: v for k, v in read_cell(folder).status.items() if k != "records"}
    (folder / "status.json").write_text(json.dumps(status))
    (folder / "eval.parquet").unlink()
    assert read_cell(folder).state == "done"
    assert integrity.damage_of(folder, None) == ""


@pytest.mark.parametrize("recorded", [[], "x", 3, {"../../secret": {}}, {"eval.parquet": "x"}])
def test_a_table_of_checksums_that_is_none_is_damage(folder, recorded):
    status = read_cell(folder).status | {"records": recorded}
    (folder / "status.json").write_text(json.dumps(status))
    assert read_cell(folder).state == "failed"
