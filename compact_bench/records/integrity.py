"""Whether a cell's records are still those that it was recorded with: sizes and SHA-256."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compact_bench.records.archive import SAMPLES, TABLES
from compact_bench.utils.files import checksum

# All but status.json, which holds the checksums; logs and weights are no records.
RECORD_FILES = (
    *("spec.json", "env.json", "samples.jsonl"),
    *(f"{kind}.parquet" for kind in TABLES if kind != SAMPLES),
)


def checksums(folder: Path) -> dict[str, dict[str, Any]]:
    """{"bytes": ..., "sha256": ...} of every record of a cell that is there, by file name."""
    paths = (folder / name for name in RECORD_FILES)
    return {path.name: checksum(path) for path in paths if path.exists()}


def damage_of(folder: Path, recorded: Any) -> str:
    """What differs between a cell's records and its recorded checksums, in a few words, or "".

    recorded: what `checksums` returned; None for older records, of which nothing can be said.
    Raises OSError where a record is there and can't be read.
    """
    if recorded is None:
        return ""
    if not isinstance(recorded, Mapping) or not {*recorded} <= {*RECORD_FILES}:
        return "status.json holds no table of checksums"
    for name, expected in recorded.items():
        try:
            found = checksum(folder / name)
        except FileNotFoundError:
            return f"{name} is gone"
        if found != expected:
            return f"{name} is not what was recorded"
    return ""
