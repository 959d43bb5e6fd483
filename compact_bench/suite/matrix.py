"""The cells of a suite's table (row x seed), each with an id that hashes all that decides it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath
from types import MappingProxyType
from typing import Any

from compact_bench.errors import UserError, nearest
from compact_bench.suite.schema import Suite
from compact_bench.suite.sections import DATA_SUFFIXES
from compact_bench.suite.source import Location

_RUN_ID = re.compile(r"[0-9a-f]{12}")
_COMMIT = re.compile(r"@[0-9a-f]{40}")  # in the address of a data set

# A setting of this name holds a run id, or in a suite file the label of another row.
WEIGHTS_FROM = "weights_from"

CellName = tuple[str, int | None, str]  # label, seed, condition

# Bumped when the core's numbers change: results of before are then not taken for done.
# 2: attention by pieces, a fused optimizer, the head's gradient made with its loss, a decoding
#    cache of fixed room (last digits).
ENGINE_VERSION = 2


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
    evidence: dict[str, Any] | None = None  # what is recorded beside the answers
    condition: str = ""  # the name of the suite's condition, whose data are in `data`

    @cached_property  # a plan asks for it many times, and of thousands of cells
    def run_id(self) -> str:
        """First 12 hex digits of SHA-256 over the canonical JSON of all fields.

        A local student or data file counts by its content (its hash is a field) and its name,
        not by the folder that it lies in, so that records can be told apart on any machine; a data
        set of the hub not by its commit, which other files may have changed.
        """
        return self.hashed(_canonical)

    def hashed(self, written: Callable[[Any], str]) -> str:
        """The run id; `written`: the canonical JSON of one field's value."""
        values = self._values()
        values["student"] = _Named(self.student, ("id",))
        values["data"] = _Named(self.data, ("source", "test_source", "more"))
        values.pop("condition")  # a name for data that are hashed anyway
        if self.evidence is None:
            values.pop("evidence")  # cells of before it was there keep their ids
        text = ",".join(f'"{name}":{written(values[name])}' for name in sorted(values))
        return hashlib.sha256(f"{{{text}}}".encode()).hexdigest()[:12]

    @property
    def name(self) -> str:
        """The cell's name for people: ``average, seed 0``."""
        rate = f"learning rate {self.training['learning_rate']:g}" if self.on_dev else ""
        seed = "" if self.seed is None else f"seed {self.seed}"
        parts = [self.label, self.condition, rate, seed]
        return ", ".join(part for part in parts if part)

    @property
    def on_dev(self) -> bool:
        """Whether the cell is evaluated on the dev split, to choose a setting."""
        return bool(self.evaluation.get("select"))

    @property
    def after(self) -> str:
        """The run id of the cell whose recorded weights this one reads, or ``""``."""
        return str(self.config.get(WEIGHTS_FROM) or "")

    def _values(self) -> dict[str, Any]:
        return {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}

    def to_json(self) -> dict[str, Any]:
        """Return the fields and the run id as plain JSON values: what spec.json holds."""
        return self._values() | {"run_id": self.run_id}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> RunSpec:
        """Make a RunSpec of what ``to_json`` gave; other keys are ignored."""
        known = {item.name for item in dataclasses.fields(cls)}
        return cls(**{key: value for key, value in values.items() if key in known})


@dataclass(frozen=True)
class _Named:
    """Settings whose `files` are paths, of which only the names count."""

    settings: dict[str, Any]
    files: tuple[str, ...]

    def values(self) -> dict[str, Any]:
        names = {key: _file_name(self.settings[key]) for key in self.files if key in self.settings}
        return {**self.settings, **names}


def _canonical(value: Any) -> str:
    value = value.values() if isinstance(value, _Named) else value
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


class _CanonicalOnce:
    """`_canonical`, but what many cells share is written once.

    The ids of 9,860 cells take 0.24 instead of 0.86 processor seconds. Only as long as cells are
    laid out: nothing changes their settings meanwhile.
    """

    def __init__(self) -> None:
        self._texts: dict[Any, tuple[Any, str]] = {}  # with the value: its id must stay its own

    def __call__(self, value: Any) -> str:
        settings = value.settings if isinstance(value, _Named) else value
        key = id(settings) if isinstance(settings, dict) else (type(value), value)
        if key not in self._texts:
            self._texts[key] = settings, _canonical(value)
        return self._texts[key][1]


def _file_name(value: Any) -> Any:
    """``/folder/student.gguf`` -> ``student.gguf``; a hub id ``owner/name`` stays whole, without
    the commit of ``owner/name@COMMIT``. Of a list, each."""
    if isinstance(value, list):
        return [_file_name(item) for item in value]
    if not value:
        return value
    local = value.startswith((".", "/", "~")) or value.endswith((".gguf", *DATA_SUFFIXES))
    if local and not value.startswith("hf://"):
        return PurePath(value).name
    return _COMMIT.sub("", value)


@dataclass(frozen=True)
class ResolvedRow:
    """One row of the table: a method with one resolved config, and perhaps its learning rate."""

    label: str
    method: Any
    config: dict[str, Any]
    rate: float | None = None


def rows(suite: Suite, registry: Any, teachers: Sequence[str]) -> tuple[ResolvedRow, ...]:
    """Resolve the suite's methods to rows, in the suite's order.

    registry: `methods.registry.Registry`, in a room below this one.

    Raises UserError for an unknown method, a wrong setting, or the same row twice.
    """
    resolved: list[ResolvedRow] = []
    places: list[Location] = []
    for name, settings, place, label, rate in suite.rows():
        method = registry.get(name, where=suite.where(place))
        config = suite.validated(method.Config, settings or {}, place, f"method {name}")
        for variant in method.variants(config, teachers):
            values = variant.model_dump(mode="json")
            resolved.append(ResolvedRow(label or method(variant).label, method, values, rate))
            places.append(place)
    resolved = _with_distinct_labels(resolved)
    labels = [row.label for row in resolved]
    counts = Counter(labels)
    if twice := next((label for label in labels if counts[label] > 1), ""):
        own = [place for label, place in zip(labels, places, strict=True) if label == twice]
        if len({place[0] for place in own}) == 2:  # methods and ablation
            raise UserError(
                f"{suite.where(own[0])}: the row {twice!r} is one that ablation makes "
                f"({suite.where(own[-1])}): take it out of methods"
            )
        raise UserError(f"{suite.where(('methods',))}: the row {twice!r} is listed twice")
    _check_labels(filter(None, [suite.compare_to]), labels, suite, "compare_to")
    _check_labels(suite.ladder, labels, suite, "ladder")
    _check_labels(filter(None, [suite.regret_to]), labels, suite, "regret_to")
    _check_labels(filter(None, [suite.without_faults]), labels, suite, "without_faults")
    return tuple(resolved)


def _check_labels(
    names: Iterable[str], labels: Sequence[str], suite: Suite, key: str, subject: str = ""
) -> None:
    for name in names:
        if name not in labels:
            raise UserError(
                f"{suite.where((key,))}: {subject or key} names no row: "
                f"{name!r}{nearest(name, labels)}"
            )


def _with_distinct_labels(resolved: Sequence[ResolvedRow]) -> list[ResolvedRow]:
    """Rows of one label (a method with several settings) get the settings that differ into it."""
    result = []
    by_label: dict[str, list[ResolvedRow]] = {}
    for row in resolved:
        by_label.setdefault(row.label, []).append(row)
    for row in resolved:
        others = by_label[row.label]
        changed = [
            f"{key}={value}"
            for key, value in row.config.items()
            if any(other.config.get(key) != value for other in others)
        ]
        label = f"{row.label}({', '.join(changed)})" if changed else row.label
        result.append(dataclasses.replace(row, label=label))
    return result


@dataclass(frozen=True)
class Data:
    """The training data that rows are run with: those of one condition, or the suite's own."""

    spec: dict[str, Any]
    fingerprint: str
    teachers: Sequence[str]
    condition: str = ""
    rows: Sequence[str] = ()  # labels of the only rows that are run with it; none means all


def cells(
    suite: Suite,
    registry: Any,
    data: Sequence[Data],
    student_hash: str,
    threads: int,
    rates: Mapping[tuple[str, str], float] = MappingProxyType({}),
) -> tuple[RunSpec, ...]:
    """Return every cell of the suite: rows in the suite's order, conditions and seeds within.

    A method without randomness (``seeded`` is False) has one cell, with seed None; one that reads
    no training data has one for all conditions. ``rates`` holds learning rates by (label,
    condition); rows that it doesn't name have the suite's. Raises UserError where
    ``weights_from`` leads in a circle.
    """
    training = suite.training.model_dump(mode="json")
    shared: dict[str, Any] = {
        "suite": suite.suite,
        "profile": suite.profile,
        "student": suite.student.settled().model_dump(mode="json"),
        "student_hash": student_hash,
        "evaluation": suite.evaluation.model_dump(mode="json"),
        "limit": suite.limit,
        "threads": threads,
        "evidence": suite.evidence.model_dump(mode="json") if suite.evidence else None,
    }
    placed = []
    for number, condition in enumerate(data):
        resolved = rows(suite, registry, condition.teachers)
        labels = [row.label for row in resolved]
        by_label = {row.label: row for row in resolved}
        subject = f"condition {condition.condition!r}"
        _check_labels(condition.rows, labels, suite, "conditions", subject)
        for order, row in enumerate(resolved):
            if row.method.reads_data and condition.rows and row.label not in condition.rows:
                continue
            if number and not row.method.reads_data:
                continue
            name = condition.condition if row.method.reads_data else ""
            source = weights_source(row, by_label)
            rate = rates.get((source.label, name), source.rate or training["learning_rate"])
            own_training = {**training, "learning_rate": rate}
            for place, seed in enumerate(suite.seeds if row.method.seeded else [None]):
                spec = RunSpec(
                    label=row.label,
                    method=row.method.name,
                    version=row.method.version,
                    config=row.config,
                    seed=seed,
                    data=condition.spec,
                    data_hash=condition.fingerprint,
                    condition=name,
                    training=own_training,
                    **shared,
                )
                placed.append(((order, number, place), spec))
    return _with_ids([spec for _, spec in sorted(placed, key=lambda pair: pair[0])], suite)


def _with_ids(ordered: Sequence[RunSpec], suite: Suite) -> tuple[RunSpec, ...]:
    """The cells with their run ids, computed together, those of ``weights_from`` resolved."""
    # The reverse, since of cells of one name the first is meant.
    by_name = {(spec.label, spec.seed, spec.condition): spec for spec in reversed(ordered)}
    finished = tuple(_with_weights_id(spec, by_name, suite) for spec in ordered)
    written = _CanonicalOnce()
    for spec in finished:
        vars(spec)["run_id"] = spec.hashed(written)  # where cached_property keeps it
    return finished


def weights_source(row: ResolvedRow, by_label: Mapping[str, ResolvedRow]) -> ResolvedRow:
    """The row whose recorded weights a row reads, through others; else itself."""
    for _ in by_label:  # a circle is refused elsewhere
        source = by_label.get(str(row.config.get(WEIGHTS_FROM) or ""))
        if source is None:
            break
        row = source
    return row


def _with_weights_id(
    spec: RunSpec, by_name: Mapping[CellName, RunSpec], suite: Suite, seen: Sequence[str] = ()
) -> RunSpec:
    """The cell with the run id of the row that ``weights_from`` names, same seed and data."""
    if not spec.after:
        return spec
    source = by_name.get((spec.after, spec.seed, spec.condition))
    if source is None:
        if not _RUN_ID.fullmatch(spec.after):
            labels = [label for label, _, _ in by_name]
            raise UserError(
                f"{suite.where(('methods',))}: {WEIGHTS_FROM}: {spec.after!r} is neither a row"
                f"{nearest(spec.after, labels)} nor a run id"
            )
        return spec
    if spec.label in seen:
        raise UserError(f"{suite.where(('methods',))}: weights_from leads in a circle: {seen}")
    run_id = _with_weights_id(source, by_name, suite, (*seen, spec.label)).run_id
    return dataclasses.replace(spec, config={**spec.config, WEIGHTS_FROM: run_id})
