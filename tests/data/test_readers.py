"""Rows of a user's files and of data sets of the hub, and what can't be read of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from compact_bench.data import readers
from compact_bench.data.readers import HubAddress, hub_address, pinned, user_rows
from compact_bench.errors import UserError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def rows_of(source: object, columns: list[str] | None = None, split: str = "train") -> list[Any]:
    return [*user_rows(str(source), columns, None, split)]


def test_addresses_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own" / "data").mkdir(parents=True)
    (tmp_path / "own" / "file").write_text("")
    for source, expected in {
        "me/two": HubAddress("me/two"),
        f"me/two@{COMMIT}": HubAddress("me/two", COMMIT),
        "hf://datasets/me/two": HubAddress("me/two"),
        "hf://datasets/me/two@refs%2Fpr%2F1/a/b.csv": HubAddress("me/two", "refs/pr/1", "a/b.csv"),
    }.items():
        assert hub_address(source) == expected
    local = ("own/data", "own/file", "./me/two", "/me/two", "../two", "me/two.csv", "a/b/c")
    assert [source for source in (*local, "svamp", "a b/c") if hub_address(source)] == []


def test_a_revision_is_pinned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Hub:
        def dataset_info(self, name: str, revision: str | None, timeout: float) -> Any:
            asked.append((name, revision))
            if name == "me/gone":
                raise OSError("no network")
            return type("Info", (), {"sha": COMMIT})

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    assert pinned("me/two") == pinned("me/two@main") == f"me/two@{COMMIT}"
    assert pinned("hf://datasets/me/two/a.csv") == f"hf://datasets/me/two@{COMMIT}/a.csv"
    assert asked == [("me/two", None), ("me/two", "main"), ("me/two", None)]
    for source in ("me/gone", "mini", "a.jsonl", f"me/gone@{COMMIT}"):
        assert pinned(source) == source


def test_a_csv_file_names_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbfa,b\r\n1,"x\r\ny"\r\n\r\n2,\r\n')
    assert rows_of(path) == [
        (f"{path}:2", {"a": "1", "b": "x\r\ny"}),
        (f"{path}:5", {"a": "2", "b": None}),
    ]
    assert rows_of(path, ["b"])[0][1] == {"b": "x\r\ny"}
    long = "x" * 200_000  # more than Python's own limit of a cell
    path.write_text(f"a\n{long}\n")
    assert rows_of(path)[0][1] == {"a": long}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n1,2\n1\n", r"a.csv:3: 1 cells instead of 2 in the first line"),
        (b"a,b\n1,2,3\n", r"a.csv:2: 3 cells instead of 2"),
        (b"a,a\n1,2\n", "a column's name is there twice"),
        (b'a,b\n1,"2\n', "can't be read"),
        (b"a\n\xff\n", "can't be read: 'utf-8'"),
        (b"", r"no column 'q'; known: $"),
        (b"Q,b\n1,2\n", r"no column 'q'.*; known: Q, b"),
    ],
)
def test_a_csv_file_that_cannot_be_read(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(UserError, match=message):
        rows_of(tmp_path / "a.csv", ["q"] if "column 'q'" in message else None)


def test_tables_that_cannot_be_read(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a.parquet: no column 'b'.*known: a"):
        rows_of(tmp_path / "a.parquet", ["b"])
    whole = (tmp_path / "a.parquet").read_bytes()
    for name, content in (("cut.parquet", whole[:-9]), ("no.arrow", b"x" * 99), ("e.arrow", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=f"{name}: can't be read: "):
            rows_of(tmp_path / name)
    for name in ("gone.parquet", "gone.csv", "gone"):
        with pytest.raises(UserError, match="can't be read: No such file"):
            rows_of(tmp_path / name)


def test_a_folder_is_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "train.jsonl").write_text(json.dumps({"a": 1, "b": [{"role": "user"}]}) + "\n")
    (folder / "test.jsonl").write_text(json.dumps({"a": 2, "b": None}) + "\n")
    assert rows_of(folder) == [(f"{folder} (train): row 1", {"a": 1, "b": [{"role": "user"}]})]
    assert rows_of(folder, ["a"], "test") == [(f"{folder} (test): row 1", {"a": 2})]
    with pytest.raises(UserError, match=r"\(split dev\): can't be read: .*dev"):
        rows_of(folder, None, "dev")
    with pytest.raises(UserError, match=r"no column 'c'; known: a, b"):
        rows_of(folder, ["c"])


def test_a_data_set_of_the_hub_is_read_at_its_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def load(name: str, config: str | None, split: str, revision: str | None) -> Any:
        if name == "me/gone":
            raise FileNotFoundError("Dataset 'me/gone' doesn't exist on the Hub\nor elsewhere")
        assert (name, config, split, revision) == ("me/two", "easy", "train", COMMIT)
        return datasets.Dataset.from_list([{"a": 1, "b": 2}])

    monkeypatch.setattr("datasets.load_dataset", load)
    rows = [*user_rows(f"me/two@{COMMIT}", ["a"], "easy", "train")]
    assert rows == [(f"me/two@{COMMIT} (train): row 1", {"a": 1})]
    with pytest.raises(UserError, match=r"me/gone .split train.: can't be read: Dataset 'me"):
        rows_of("me/gone")


def test_a_file_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_text("a\n1\n")

    def download(name: str, path: str, repo_type: str, revision: str | None) -> str:
        assert (name, path, repo_type, revision) == ("me/two", "x/a.csv", "dataset", None)
        return str(tmp_path / "a.csv")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    source = "hf://datasets/me/two/x/a.csv"
    assert rows_of(source) == [(f"{source}:2", {"a": "1"})]
    assert readers.HUB in source
