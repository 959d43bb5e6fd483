"""The results of one suite that several runs made in folders of their own, put into one folder."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compact_bench.errors import UserError
from compact_bench.records import integrity
from compact_bench.records.cells import Cell, read_cell, without_paths
from compact_bench.records.suite_record import SuiteRecord, read_suite_record, write_suite_record
from compact_bench.utils import files

SHARED = ("bank.parquet", "items.parquet")  # of the data, and so the same in every folder
ANSWERS = ("eval.parquet", "samples.jsonl")  # what a cell came to, without times and machines
# Of two records of one cell the better is taken; the last ones say that it is to be done again.
BEST_FIRST = ("done", "skipped", "diverged", "pruned", "failed")


def merge(folders: Sequence[Path], into: Path) -> None:
    """Put the cells of several results folders, such as results/gsm8k/mini, into one.

    What `into` holds already counts as one of them; the others stay as they are. The records are
    those of one run of all cells. Raises UserError, with nothing written, where suites, data or
    plans differ, and where two folders have unlike answers of one cell.
    """
    every = [*folders, *([into] if (into / "suite.json").exists() else [])]
    sources = [*{folder.resolve(): folder for folder in every}.values()]
    merged = _merged_plan(sources)
    for name in SHARED:
        _check_same(sources, name)
    entries = [*merged.tries, *merged.cells]
    run_ids = dict.fromkeys(str(entry["run_id"]) for entry in entries if entry["run_id"])
    chosen = [best for run_id in run_ids if (best := _best(sources, run_id)) is not None]
    runs = into / "runs"
    files.remove_leftovers(into)
    for leftover in runs.glob(f".*{files.LEFTOVER}"):
        files.remove(leftover)
    for cell in chosen:
        _copy(cell.folder, runs / cell.run_id)
    for name in SHARED:
        files.write_bytes(into / name, (sources[0] / name).read_bytes())
    write_suite_record(into, merged.suite, merged.cells, merged.notes, merged.tries)


def _merged_plan(sources: Sequence[Path]) -> SuiteRecord:
    """The plan that all folders share. A part may not know the run ids of another's cells yet."""
    first, *others = plans = [read_suite_record(folder) for folder in sources]
    for folder, plan in zip(sources, plans, strict=True):
        if not (folder / "runs").is_dir():
            raise UserError(f"{folder} has no runs: published results can't be merged")
        if key := _difference(without_paths(first.suite), without_paths(plan.suite)):
            raise UserError(f"{sources[0]} and {folder} are of unlike suites: {key} differs")
        if [*map(_place, first.cells)] != [*map(_place, plan.cells)] or first.tries != plan.tries:
            why = _why(first, plan, sources, folder)
            raise UserError(f"{sources[0]} and {folder} planned unlike cells{why}")
    cells = list(first.cells)
    for folder, plan in zip(sources[1:], others, strict=True):
        for place, (known, other) in enumerate(zip(cells, plan.cells, strict=True)):
            if not known["run_id"]:
                cells[place] = other
            elif other["run_id"] and other != known:
                why = _why(first, plan, sources, folder)
                raise UserError(
                    f"{known['label']}, seed {known['seed']}, is another cell in {folder} than in "
                    f"{sources[0]}{why}"
                )
    return SuiteRecord(first.suite, tuple(cells), first.notes, first.tries)


def _place(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    return entry["label"], entry.get("seed"), entry.get("condition")


def _why(first: SuiteRecord, plan: SuiteRecord, sources: Sequence[Path], folder: Path) -> str:
    """What decides the cells' numbers and differs, as far as a cell of each folder tells."""
    specs = []
    for source, own in ((sources[0], first), (folder, plan)):
        ids = (entry["run_id"] for entry in (*own.tries, *own.cells) if entry["run_id"])
        specs.append(next((spec for name in ids if (spec := _spec(source, name))), {}))
    keys = ("engine_version", "threads", "student_hash", "data_hash")
    differ = [
        f"{key} {specs[0][key]} and {specs[1][key]}"
        for key in keys
        if all(key in spec for spec in specs) and specs[0][key] != specs[1][key]
    ]
    return f": {', '.join(differ)}" if differ else ""


def _spec(folder: Path, run_id: str) -> dict[str, Any]:
    return read_cell(folder / "runs" / run_id).spec


def _difference(one: Any, other: Any, key: str = "") -> str:
    """The first key, dotted, in which two values of JSON differ; "" where they are equal."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in sorted({*one, *other}):
            if found := _difference(one.get(name), other.get(name), f"{key}.{name}".strip(".")):
                return found
        return ""
    return "" if one == other else key


def _check_same(sources: Sequence[Path], name: str) -> None:
    """Raise UserError where a folder lacks a file of the data, or has another one."""
    checksums = {}
    for folder in sources:
        try:
            checksums[folder] = files.checksum(folder / name)
        except OSError as error:
            raise UserError(f"cannot read {folder / name}: {error.strerror or error}") from error
        if checksums[folder] != checksums[sources[0]]:
            raise UserError(f"{sources[0]} and {folder} have unlike data: {name} differs")


def _best(sources: Sequence[Path], run_id: str) -> Cell | None:
    """The record of a cell to keep, of the earliest folder among equals; None where there is none.

    Raises UserError where two that are done have unlike answers.
    """
    found = [read_cell(folder / "runs" / run_id) for folder in sources]
    found = [cell for cell in found if cell.state != "missing"]
    done = [cell for cell in found if cell.state == "done"]
    for cell in done:
        for name in ANSWERS:
            one, other = (integrity.checksums(c.folder).get(name) for c in (done[0], cell))
            if one != other:
                label, seed = cell.spec.get("label"), cell.spec.get("seed")
                raise UserError(
                    f"{label}, seed {seed}, has other answers in {cell.folder} than in "
                    f"{done[0].folder}: {name} differs; remove the one that is wrong"
                )
    return min(found, key=lambda cell: BEST_FIRST.index(cell.state), default=None)


def _copy(folder: Path, target: Path) -> None:
    """Copy a cell's folder, whole or not at all; it replaces a worse record."""
    if folder.resolve() == target.resolve():
        return
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}{files.LEFTOVER}")
    with files.writable(target):
        shutil.copytree(folder, draft)
        files.remove(target)
        draft.rename(target)
