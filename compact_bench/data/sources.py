"""The catalog of data sets, and their files: downloaded or from a mirror, always verified."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, field_validator

from compact_bench.errors import UserError, unknown

MIRROR_VARIABLE = "COMPACT_BENCH_MIRROR"
CACHE_VARIABLE = "COMPACT_BENCH_CACHE"
RAW = "https://raw.githubusercontent.com/"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Repository(_Strict):
    """A public repository at one commit; files: path -> SHA-256."""

    url: str
    licence: str
    files: dict[str, str]


class Part(_Strict):
    """One file ("repository:path") and the importer that reads it; `sample` keeps one chain."""

    file: str
    importer: str
    sample: int | None = None


class CatalogTeacher(_Strict):
    """One teacher's files by variant (granularity level, format, sample)."""

    importer: str
    default: str
    variants: dict[str, Part]

    @field_validator("variants", mode="before")
    @classmethod
    def _short(cls, value: object, info: object) -> object:
        """A variant may be written as its file alone; the importer is then the teacher's."""
        importer = getattr(info, "data", {}).get("importer")
        if not isinstance(value, dict):
            return value
        parts = {k: {"file": v} if isinstance(v, str) else v for k, v in value.items()}
        return {k: {"importer": importer, **v} for k, v in parts.items()}


class Dataset(_Strict):
    """One data set.

    questions: the training questions with their answers; other files are joined to these alone,
        since public files hold one another's test questions. test: where the test questions
        are. split: "rest" = the file's questions that are not for training.
    """

    title: str
    licence: str
    answer: Literal["number", "boolean", "choice", "expression"]
    questions: Part
    test: Part | None = None
    split: Literal["file", "rest"] = "file"
    human: Part | None = None
    default_teachers: tuple[str, ...]
    teachers: dict[str, CatalogTeacher]


class Catalog(_Strict):
    """All of catalog.yaml."""

    repositories: dict[str, Repository]
    datasets: dict[str, Dataset]


@cache
def catalog() -> Catalog:
    """The catalog that the package ships."""
    text = resources.files("compact_bench.data").joinpath("catalog.yaml").read_text("utf-8")
    return Catalog.model_validate(yaml.safe_load(text))


def dataset(name: str) -> Dataset:
    """A data set of the catalog.

    Raises: UserError for an unknown name, with the nearest known one.
    """
    known = catalog().datasets
    if name not in known:
        others = ", or a file (.jsonl, .parquet, .csv, .arrow), or a data set of the hub"
        raise unknown("unknown data source", name, ["mini", *known], others)
    return known[name]


def teacher_part(data: Dataset, name: str) -> Part:
    """The file of a teacher: "llama-3-70b" (its default variant) or "llama-3-70b/level3".

    Raises: UserError for an unknown teacher or variant, with the nearest known one.
    """
    base, _, variant = name.partition("/")
    if base not in data.teachers:
        raise unknown(f"no question of {data.title} has the teacher", base, data.teachers)
    teacher = data.teachers[base]
    variant = variant or teacher.default
    if variant not in teacher.variants:
        raise unknown(f"teacher {base!r} has no variant", variant, teacher.variants)
    return teacher.variants[variant]


def address(file: str) -> tuple[str, str]:
    """(URL, SHA-256) of a file written as "repository:path" in the catalog."""
    name, _, path = file.partition(":")
    repository = catalog().repositories[name]
    return f"{repository.url}/{path}", repository.files[path]


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fetch(file: str, mirror: Path | None = None) -> Path:
    """The local path of a catalog file: from the mirror if there is one, else downloaded.

    mirror: a folder with the layout OWNER/REPO/COMMIT/PATH; by default the environment's
    COMPACT_BENCH_MIRROR. Downloads go to COMPACT_BENCH_CACHE or the user's cache folder.

    Raises: UserError where the file is absent, can't be downloaded, or has another SHA-256.
    """
    url, expected = address(file)
    if mirror is None and os.environ.get(MIRROR_VARIABLE):
        mirror = Path(os.environ[MIRROR_VARIABLE])
    if mirror is None:
        return _download(url, expected)
    path = Path(mirror) / url.removeprefix(RAW)
    if not path.is_file():
        raise UserError(f"the mirror {mirror} has no file {url.removeprefix(RAW)}")
    if (actual := checksum(path)) != expected:
        raise UserError(f"{path}: SHA-256 is {actual}, the catalog expects {expected}")
    return path


def _download(url: str, expected: str) -> Path:
    import pooch

    folder = Path(os.environ.get(CACHE_VARIABLE) or pooch.os_cache("compact_bench"))
    target = folder / url.removeprefix(RAW)
    pooch.get_logger().setLevel(logging.WARNING)
    try:
        return Path(pooch.retrieve(url, f"sha256:{expected}", target.name, target.parent))
    except ValueError as error:  # pooch's checksum mismatch
        raise UserError(f"{url}: the download's SHA-256 is not {expected}") from error
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{url} can't be downloaded ({reason[:120]}); without a network name a folder with "
            f"the files: --mirror DIR or {MIRROR_VARIABLE}=DIR"
        ) from error


def summary() -> list[Mapping[str, object]]:
    """Name, title, licence, answer kind and teachers of every data set, for listings."""
    return [
        {
            "name": name,
            **data.model_dump(include={"title", "licence", "answer"}),
            "teachers": {teacher: list(entry.variants) for teacher, entry in data.teachers.items()},
            "default_teachers": list(data.default_teachers),
        }
        for name, data in catalog().datasets.items()
    ]
