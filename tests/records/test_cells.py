"""Records survive odd text, full disks and half-written folders."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from compact_bench.errors import UserError
from compact_bench.records.cells import (
    EVAL_COLUMNS,
    CellWriter,
    read_cell,
    read_cells,
    without_paths,
)
from compact_bench.utils import files
from compact_bench.utils.files import write_parquet
from tests import synthetic


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    root = synthetic.make(tmp_path, synthetic.Made(seeds=(0,), labels=("base", "average"), items=5))
    cells = {cell.spec["label"]: cell for cell in read_cells(root)}
    assert {cell.state for cell in cells.values()} == {"done"}
    values = cells["average"].eval()
    assert set(EVAL_COLUMNS) <= set(values.columns)
    items = cells["average"].item_table().to_pandas()
    accuracy = values[(values["metric"] == "accuracy") & (values["filter"] == "strict")]
    for task, value in zip(accuracy["task"], accuracy["value"], strict=True):
        assert items[items["task"] == task]["right"].mean() == pytest.approx(value)
    assert len(cells["average"].steps()) == 40 * 2 * 4
    assert cells["base"].steps(["step", "weight"]).empty


def test_odd_texts_come_back(tmp_path: Path) -> None:
    texts = ["line\u2028separator", "nul\x00 and \x1c", "two\nlines", "é 🧮", "</script>"]
    writer = CellWriter(tmp_path)
    writer.samples({"task": "t", "question_id": str(i), "output": t} for i, t in enumerate(texts))
    cell = read_cell(tmp_path)
    assert [sample["output"] for sample in cell.samples()] == texts
    assert len(cell.item_table()) == len(texts)
    writer.samples([{"task": "t", "question_id": "0", "output": "half \ud83e"}])
    assert cell.samples()[0]["output"] == "half ?"


def test_numbers_that_json_lacks(tmp_path: Path) -> None:
    rows = [{"task": "t", "metric": "accuracy", "value": 0.5, "stderr": "N/A", "n": 3}]
    writer = CellWriter(tmp_path)
    writer.eval(rows)
    writer.status("done", loss=float("nan"), n=np.int64(3), where=Path("a"), parts=(1, 2))
    cell = read_cell(tmp_path)
    assert np.isnan(cell.eval()["stderr"].iloc[0])
    assert cell.status == {
        "state": "done", "reason": "", "loss": None, "n": 3, "where": "a", "parts": [1, 2]
    }  # fmt: skip


def test_states(tmp_path: Path) -> None:
    assert read_cell(tmp_path / "nowhere").state == "missing"
    CellWriter(tmp_path / "a").spec({"label": "x"})
    assert read_cell(tmp_path / "a").state == "missing"
    (tmp_path / "a" / "status.json").write_text("{", encoding="utf-8")
    assert read_cell(tmp_path / "a").state == "failed"
    with pytest.raises(ValueError, match="finished"):
        CellWriter(tmp_path).status("finished")


@pytest.mark.parametrize("name", ["spec", "env", "status"])
@pytest.mark.parametrize("content", ["[]", "3", '"done"', "[" * 9999, "\ufffd", "nul"])
def test_facts_that_are_no_object_make_a_failed_cell(
    tmp_path: Path, name: str, content: str
) -> None:
    writer = CellWriter(tmp_path)
    writer.spec({"label": "x"})
    writer.env({})
    writer.status("done")
    (tmp_path / f"{name}.json").write_text(content, encoding="utf-8")
    cell = read_cell(tmp_path)
    assert cell.state == "failed" and cell.status["reason"].startswith("the records can't be read")


def test_a_state_that_is_none_of_ours_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text('{"state": ["done"]}', encoding="utf-8")
    assert read_cell(tmp_path).state == "failed"


def test_a_full_disk_is_one_line_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = files.write_text(tmp_path / "a.txt", "old")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"cannot write .*a\.txt: No space left on device"):
        files.write_text(path, "new")
    assert path.read_text(encoding="utf-8") == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["a.txt"]


def test_an_unwritable_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="cannot write") as caught:
        CellWriter(tmp_path / "file" / "cell").spec({})
    assert "\n" not in str(caught.value)


def test_a_cut_off_table_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "eval.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"cannot read .*eval\.parquet"):
        read_cell(tmp_path).eval()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no file /home/me/models/tiny here", "no file tiny here"),
        ("https://huggingface.co/a/b stays", "https://huggingface.co/a/b stays"),
        ("HuggingFaceTB/SmolLM2-135M", "HuggingFaceTB/SmolLM2-135M"),
        (r"C:\Users\me\tiny.gguf", "tiny.gguf"),
        ("12 / 4 = 3", "12 / 4 = 3"),
    ],
)
def test_paths_are_cut_to_their_last_name(text: str, expected: str) -> None:
    assert without_paths(text) == expected
    assert without_paths({"a": [text, 1]}) == {"a": [expected, 1]}


def test_the_same_records_are_the_same_bytes(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1.0, None], "b": ["x", None]})
    for name in ("one", "two"):
        write_parquet(tmp_path / name, frame)
        files.write_json(tmp_path / f"{name}.json", {"b": 1, "a": {3, 1}})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert json.loads((tmp_path / "one.json").read_text(encoding="utf-8")) == {"a": [1, 3], "b": 1}


@pytest.mark.parametrize("line", ["null", " null", "7", "[]", "{", "{}"])
def test_a_damaged_line_of_samples_is_one_line_and_no_end_of_the_process(tmp_path, line):
    """Arrow's reader ends the process on some of them."""
    (tmp_path / "samples.jsonl").write_text(
        f'{{"task": "a", "question_id": "b", "output": "c"}}\n{line}\n'
    )
    with pytest.raises(UserError, match=r"cannot read .*samples.jsonl") as error:
        read_cell(tmp_path).item_table()
    assert "\n" not in str(error.value)
