"""The catalog itself, and files from a mirror or the network."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from compact_bench.data import sources
from compact_bench.data.importers import IMPORTERS
from compact_bench.errors import UserError

PARTS = [
    (name, part)
    for name, data in sources.catalog().datasets.items()
    for part in (
        data.questions,
        data.test,
        data.human,
        *(variant for teacher in data.teachers.values() for variant in teacher.variants.values()),
    )
    if part is not None
]


def test_every_file_is_pinned_and_every_importer_known() -> None:
    assert list(sources.catalog().datasets) == ["svamp", "gsm8k", "strategyqa", "csqa", "math"]
    for _, part in PARTS:
        url, expected = sources.address(part.file)
        assert re.fullmatch(r"https://raw\.githubusercontent\.com/[^/]+/[^/]+/[0-9a-f]{40}/.+", url)
        assert re.fullmatch(r"[0-9a-f]{64}", expected)
        assert part.importer in IMPORTERS


def test_default_teachers_and_variants_exist() -> None:
    for data in sources.catalog().datasets.values():
        for name in data.default_teachers:
            assert sources.teacher_part(data, name)
        for teacher in data.teachers.values():
            assert teacher.default in teacher.variants


def test_teacher_names() -> None:
    svamp = sources.dataset("svamp")
    plain = sources.teacher_part(svamp, "gpt-4o")
    assert plain == sources.teacher_part(svamp, "gpt-4o/level1")
    assert sources.teacher_part(svamp, "gpt-4o/level3-bsm").file.endswith("level3BSM.json")
    assert sources.teacher_part(svamp, "flan-t5-large").sample == 0
    assert sources.teacher_part(svamp, "flan-t5-large/all").sample is None
    with pytest.raises(UserError, match=r"'gpt-4' \(did you mean 'gpt-4o'\?\); known: gpt-4o,"):
        sources.teacher_part(svamp, "gpt-4")
    with pytest.raises(UserError, match="'llama-3-70b' has no variant 'level9'"):
        sources.teacher_part(svamp, "llama-3-70b/level9")
    with pytest.raises(UserError, match=r"unknown data source 'svam'.*did you mean 'svamp'"):
        sources.dataset("svam")


def test_an_unknown_key_of_the_catalog_is_an_error() -> None:
    raw = yaml.safe_load("{repositories: {}, datasets: {}, dataset: {}}")
    with pytest.raises(ValueError, match="dataset"):
        sources.Catalog.model_validate(raw)


FILE = "svamp:SVAMP.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A mirror whose one file isn't what the catalog expects."""
    url, _ = sources.address(FILE)
    path = tmp_path / "mirror" / url.removeprefix(sources.RAW)
    path.parent.mkdir(parents=True)
    path.write_text("[]")
    return tmp_path / "mirror"


def test_a_mirror_is_verified(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"SVAMP.json: SHA-256 is 4f53cda1.*catalog expects"):
        sources.fetch(FILE, folder)
    monkeypatch.setenv("COMPACT_BENCH_MIRROR", str(folder))
    with pytest.raises(UserError, match="SHA-256 is 4f53cda1"):
        sources.fetch(FILE)
    with pytest.raises(UserError, match="has no file openai/grade-school-math/"):
        sources.fetch("gsm8k:grade_school_math/data/test.jsonl", folder)


def test_a_mirror_file_of_the_right_content(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url, _ = sources.address(FILE)
    path = folder / url.removeprefix(sources.RAW)
    monkeypatch.setattr(sources, "address", lambda file: (url, sources.checksum(path)))
    assert sources.fetch(FILE, folder) == path


def test_downloads_are_verified_and_kept(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, _ = sources.address(FILE)
    path = folder / url.removeprefix(sources.RAW)
    monkeypatch.delenv("COMPACT_BENCH_MIRROR", raising=False)
    monkeypatch.setenv("COMPACT_BENCH_CACHE", str(tmp_path / "cache"))

    def download(address: str, known_hash: str, name: str, to: Path) -> str:
        assert (address, known_hash[:7], name) == (url, "sha256:", "SVAMP.json")
        assert Path(to) == (tmp_path / "cache" / url.removeprefix(sources.RAW)).parent
        if known_hash != f"sha256:{sources.checksum(path)}":
            raise ValueError("SHA256 hash of downloaded file does not match")
        return str(path)

    monkeypatch.setattr("pooch.retrieve", download)
    with pytest.raises(UserError, match="the download's SHA-256 is not"):
        sources.fetch(FILE)
    monkeypatch.setattr(sources, "address", lambda file: (url, sources.checksum(path)))
    assert sources.fetch(FILE) == path


def test_without_a_network_the_mirror_is_suggested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: object) -> str:
        raise ConnectionError("Name or service not known\nmore")

    monkeypatch.delenv("COMPACT_BENCH_MIRROR", raising=False)
    monkeypatch.setenv("COMPACT_BENCH_CACHE", str(tmp_path))
    monkeypatch.setattr("pooch.retrieve", offline)
    with pytest.raises(UserError, match="--mirror DIR or COMPACT_BENCH_MIRROR=DIR") as error:
        sources.fetch(FILE)
    assert "\n" not in str(error.value)


def test_summary_lists_what_a_suite_may_name() -> None:
    (svamp,) = (entry for entry in sources.summary() if entry["name"] == "svamp")
    assert svamp["default_teachers"] == [
        "gpt-4o",
        "gemini-1.5-flash",
        "llama-3-70b",
        "flan-t5-large",
    ]
    assert svamp["licence"]
