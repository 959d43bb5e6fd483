"""Files that are written whole or not at all, and values as JSON knows them."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from compact_bench.errors import UserError
from compact_bench.utils import files


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = files.write_text(tmp_path / "a" / "b.txt", "old")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"cannot write .*b\.txt: No space left on device"):
        files.write_text(path, "new")
    assert path.read_text() == "old" and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_umask_decides_who_reads_what_is_written(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        path = files.write_text(tmp_path / "a.txt", "text")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == mode


def test_what_a_kill_left_is_removed_and_nothing_else(tmp_path):
    """A child is killed between writing and renaming, as `kill -9` may."""
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from compact_bench.utils import files\n"
        "os.replace = lambda *names: os.kill(os.getpid(), signal.SIGKILL)\n"
        "files.write_text(Path(sys.argv[1]), 'text')"
    )
    deep = tmp_path / "cell" / "weights"
    for path in (tmp_path / "a.txt", tmp_path / "b.txt", deep / "c.bin"):
        done = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
        assert done.returncode == -signal.SIGKILL
    names = (".hidden", "a.txt", "a.part")
    for name in names:
        (tmp_path / name).write_text("mine")
    left = [path.name for path in tmp_path.iterdir() if path.is_file()]
    assert len(left) == 5  # the two half-written ones are there
    files.remove_leftovers(tmp_path, "b.txt")
    assert len(list(tmp_path.glob(".*.part"))) == 1
    files.remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names, "cell"])
    assert len(list(deep.iterdir())) == 1
    files.remove_leftovers(tmp_path, deep=True)
    assert list(deep.iterdir()) == []


def test_a_checksum_is_that_of_hashlib(tmp_path):
    content = os.urandom(1 << 17)
    found = files.checksum(files.write_bytes(tmp_path / "a", content))
    assert found == {"bytes": 1 << 17, "sha256": hashlib.sha256(content).hexdigest()}


def test_half_a_surrogate_pair_becomes_a_question_mark(tmp_path):
    assert files.write_text(tmp_path / "a.txt", "a\ud800b").read_text() == "a?b"


def test_json_is_sorted_and_without_nan(tmp_path):
    value = {"b": np.float32(0.5), "a": float("nan"), 3: (np.int64(1), {"y", "x"}), "p": Path("x")}
    path = files.write_json(tmp_path / "a.json", value)
    assert json.loads(path.read_text()) == {"b": 0.5, "a": None, "3": [1, ["x", "y"]], "p": "x"}
    assert list(json.loads(path.read_text())) == ["3", "a", "b", "p"]


def test_a_table_survives_parquet(tmp_path):
    table = pd.DataFrame({"x": [0.1, np.nan], "n": [1, 2], "text": ["a", None], "l": [[1.5], []]})
    path = files.write_parquet(tmp_path / "a.parquet", table)
    again = pd.read_parquet(path)
    assert again["x"].equals(table["x"]) and again["n"].equals(table["n"])
    assert again["text"][0] == "a" and pd.isna(again["text"][1])
    assert [list(item) for item in again["l"]] == [[1.5], []]


def test_removing_takes_files_folders_and_nothing(tmp_path):
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    link = tmp_path / "link"
    link.symlink_to(folder)
    files.remove(link)
    assert folder.is_dir() and not link.is_symlink()
    files.remove(folder)
    files.remove(folder)
    assert not folder.exists()
