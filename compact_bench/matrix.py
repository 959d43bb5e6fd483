"""Suite -> the cells of the table (row x seed), each with an id that hashes all that it is."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from compact_bench.errors import UserError, nearest
from compact_bench.suite import Suite
from compact_bench.suite_file import Location, describe

if TYPE_CHECKING:
    from compact_bench.api import Distiller
    from compact_bench.registry import Registry

# Bumped when the core's numbers change: results of before are then not taken for done.
ENGINE_VERSION = 1


@dataclass(frozen=True)
class RunSpec:
    """One cell: a row of the table under one seed, with every value that decides its numbers."""

    suite: str
    profile: str
    label: str
    method: str
    version: int
    config: dict[str, Any]
    seed: int | None
    student: dict[str, Any]
    student_hash: str
    data: dict[str, Any]
    data_hash: str
    training: dict[str, Any]
    evaluation: dict[str, Any]
    limit: int | None
    threads: int
    engine_version: int = ENGINE_VERSION

    @property
    def run_id(self) -> str:
        """First 12 hex digits of SHA-256 over the canonical JSON of all fields.

        A local student or data file counts by its content (its hash is a field) and its name,
        not by the folder that it lies in, so that records can be told apart on any machine.
        """
        values = self.to_json()
        values["student"] = {**self.student, "id": _file_name(self.student.get("id"))}
        names = {key: _file_name(self.data.get(key)) for key in ("source", "test_source")}
        values["data"] = {**self.data, **names}
        text = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def name(self) -> str:
        """The cell's name for people: ``average, seed 0``."""
        return self.label if self.seed is None else f"{self.label}, seed {self.seed}"

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> RunSpec:
        """Make a RunSpec of what ``to_json`` gave; other keys are ignored."""
        known = {item.name for item in dataclasses.fields(cls)}
        return cls(**{key: value for key, value in values.items() if key in known})


def _file_name(value: str | None) -> str | None:
    """``/folder/student.gguf`` -> ``student.gguf``; a hub id ``owner/name`` stays whole."""
    if not value or not (value.startswith((".", "/", "~")) or value.endswith((".gguf", ".jsonl"))):
        return value
    return PurePath(value).name


@dataclass(frozen=True)
class Row:
    """One row of the table: a method with one resolved config."""

    label: str
    method: type[Distiller]
    config: dict[str, Any]


def rows(suite: Suite, registry: Registry, teachers: Sequence[str]) -> tuple[Row, ...]:
    """Resolve the suite's methods to rows, in the suite's order.

    Raises UserError for an unknown method, a wrong setting, or the same row twice.
    """
    found: list[Row] = []
    for name, settings, place in suite.rows():
        method = registry.get(name, where=suite.where((*place, name)))
        config = _config(method, settings, suite, (*place, name))
        for variant in method.variants(config, teachers):
            values = variant.model_dump(mode="json")
            found.append(Row(method(variant).label, method, values))
    found = _distinct(found)
    labels = [row.label for row in found]
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise UserError(f"{suite.where(('methods',))}: the row {twice!r} is listed twice")
    if suite.compare_to and suite.compare_to not in labels:
        hint = nearest(suite.compare_to, labels)
        raise UserError(
            f"{suite.where(('compare_to',))}: compare_to names no row: {suite.compare_to!r}{hint}"
        )
    return tuple(found)


def _config(
    method: type[Distiller], settings: dict[str, Any], suite: Suite, place: Location
) -> Any:
    try:
        return method.Config.model_validate(settings or {})
    except ValidationError as error:
        problem = dict(error.errors(include_url=False)[0])
        raise UserError(describe(method.Config, problem, suite._source, place)) from None


def _distinct(found: Iterable[Row]) -> list[Row]:
    """Where a method is listed with several settings, its labels say in what they differ."""
    by_label: dict[str, list[Row]] = {}
    found = list(found)
    for row in found:
        by_label.setdefault(row.label, []).append(row)
    result = []
    for row in found:
        others = by_label[row.label]
        changed = [
            f"{key}={value}"
            for key, value in row.config.items()
            if any(other.config.get(key) != value for other in others)
        ]
        label = f"{row.label}({', '.join(changed)})" if changed else row.label
        result.append(dataclasses.replace(row, label=label))
    return result


def cells(
    suite: Suite,
    registry: Registry,
    prepared_fingerprint: str,
    student_hash: str,
    threads: int,
    teachers: Sequence[str],
) -> tuple[RunSpec, ...]:
    """Return every cell of the suite: rows in the suite's order, seeds within a row.

    A method without randomness (``seeded`` is False) has one cell, with seed None.
    """
    shared: dict[str, Any] = {
        "suite": suite.suite,
        "profile": suite.profile,
        "student": suite.student.model_dump(mode="json"),
        "student_hash": student_hash,
        "data": suite.data.model_dump(mode="json"),
        "data_hash": prepared_fingerprint,
        "training": suite.training.model_dump(mode="json"),
        "evaluation": suite.evaluation.model_dump(mode="json"),
        "limit": suite.limit,
        "threads": threads,
    }
    return tuple(
        RunSpec(
            label=row.label,
            method=row.method.name,
            version=row.method.version,
            config=row.config,
            seed=seed,
            **shared,
        )
        for row in rows(suite, registry, teachers)
        for seed in (suite.seeds if row.method.seeded else [None])
    )
