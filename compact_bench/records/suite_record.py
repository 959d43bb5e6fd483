"""What a suite records beside its cells: the plan (suite.json), rationales and test items.

suite.json holds the resolved suite, its cells in table order and facts for the captions;
bank.parquet the rationales, items.parquet the questions of the test.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from compact_bench.errors import UserError
from compact_bench.records.parquet import check_columns, read_table
from compact_bench.suite.schema import IN_DOMAIN
from compact_bench.utils.files import write_json, write_parquet

CLEAN = "template_clean"
RATIONALE_KEY = ["question_id", "teacher", "sample"]
_BANK = [*RATIONALE_KEY, "role", "answer", "right", "corruption", "condition"]


@dataclass(frozen=True)
class SuiteRecord:
    """suite.json: the resolved suite, its cells in table order, and facts for the captions.

    ``tries`` are the cells that learning rates were chosen by; they are no part of any row.
    """

    suite: dict[str, Any]
    cells: tuple[dict[str, Any], ...]
    notes: tuple[str, ...] = ()
    tries: tuple[dict[str, Any], ...] = ()


def write_suite_record(
    root: Path,
    suite: Mapping[str, Any],
    cells: Iterable[Mapping[str, Any]],
    notes: Sequence[str] = (),
    tries: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write suite.json. A cell needs run_id, label and seed; `uses_gold` becomes a column."""
    content = {"suite": suite, "cells": [dict(cell) for cell in cells], "notes": list(notes)}
    if tries:
        content["tries"] = [dict(cell) for cell in tries]
    write_json(Path(root) / "suite.json", content)


def read_suite_record(root: Path) -> SuiteRecord:
    """Read suite.json; UserError where there is none or it isn't one."""
    path = Path(root) / "suite.json"
    try:
        content = json.loads(path.read_text("utf-8"))
        suite, notes = content["suite"], content.get("notes", [])
        cells, tries = content["cells"], content.get("tries", [])
        _check_suite(suite)
        _check(notes, list, str, "notes")
        for entry in [*_check(cells, list, dict, "cells"), *_check(tries, list, dict, "tries")]:
            _check_entry(entry)
        cells = tuple({**cell, "label": str(cell["label"])} for cell in cells)
        return SuiteRecord(dict(suite), cells, tuple(notes), tuple(tries))
    except FileNotFoundError as error:
        raise UserError(f"no results in {root}: run the suite first") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"cannot read {path}: {error!r}") from error


def _check(value: Any, kind: type, of: type, name: str) -> Any:
    """The list or dict whose items are all of a type; TypeError for another."""
    items = value.values() if isinstance(value, dict) else value
    if not isinstance(value, kind) or not all(isinstance(item, of) for item in items):
        raise TypeError(f"{name} is no {kind.__name__} of {of.__name__}s")
    return value


def _check_suite(suite: Any) -> None:
    """TypeError where a part of the suite that reports read isn't of its type."""
    _check(suite, dict, object, "suite")
    for name in ("student", "data", "training", "evaluation"):
        _check(suite.get(name, {}), dict, object, name)
    _check(suite.get("conditions") or [], list, dict, "conditions")
    for task in _check(suite.get("evaluation", {}).get("tasks") or [], list, dict, "tasks"):
        if not isinstance(task.get("task") or "", str):
            raise TypeError("a task's name is no text")


def _check_entry(entry: dict[str, Any]) -> None:
    """TypeError or KeyError where a planned cell can't be one; a run id names one folder."""
    run_id, seed = entry["run_id"], entry.get("seed")
    if not isinstance(run_id, str) or "/" in run_id or run_id in (".", ".."):
        raise TypeError(f"{run_id!r} is no run id")
    if seed is not None and not (isinstance(seed, int) and abs(seed) < 2**53):
        raise TypeError(f"{seed!r} is no seed")
    if not isinstance(entry.get("condition") or "", str) or isinstance(
        entry["label"], (dict, list)
    ):
        raise TypeError("a cell's label or condition is no text")


def write_bank(root: Path, banks: Mapping[str, Any]) -> None:
    """Write bank.parquet: each condition's rationales with their question and gold answer.

    Where a suite has conditions (names other than ""), a column says which.
    """
    frames = []
    for condition, bank in banks.items():
        questions = bank.questions.rename(columns={"answer": "gold"})
        frame = bank.rationales.merge(questions, on="question_id", how="left", validate="m:1")
        frames.append(frame.assign(condition=condition) if condition else frame)
    write_parquet(Path(root) / "bank.parquet", pd.concat(frames, ignore_index=True))


def write_items(root: Path, tasks: Iterable[Any], clean: Mapping[str, bool] | None = None) -> None:
    """Write items.parquet: the tasks' questions by hash, so that the page can show them.

    clean: question_id -> whether no training question tells the story of an in-domain item once
    numbers are masked; it becomes a column.
    """
    frames = [
        task.items[["question_id", "question", "answer"]].assign(task=task.name)
        for task in tasks
        if task.items is not None and {"question", "answer"} <= set(task.items.columns)
    ]
    columns = ["task", "question_id", "question", "answer"]
    frame = pd.concat(frames)[columns] if frames else pd.DataFrame(columns=columns, dtype=str)
    frame = frame.reset_index(drop=True).astype({"answer": str})
    if clean is not None:  # missing for the other tasks
        asked = frame.loc[frame["task"] == IN_DOMAIN, "question_id"]
        frame[CLEAN] = asked.map(clean).astype("boolean").reindex(frame.index)
    write_parquet(Path(root) / "items.parquet", frame)


def _read(root: Path, name: str, columns: Sequence[str]) -> pd.DataFrame:
    """Of the named columns those that the table has; empty where there is no such file."""
    path = Path(root) / name
    if not path.exists():
        return pd.DataFrame()
    check_columns(path)
    return read_table(path, columns)


def read_clean(root: Path) -> dict[str, bool]:
    """question_id -> whether an in-domain item is template-clean; empty in older records."""
    frame = _read(root, "items.parquet", ["task", "question_id", CLEAN])
    if CLEAN not in frame:
        return {}
    known = frame[(frame["task"] == IN_DOMAIN) & frame[CLEAN].notna()]
    return dict(zip(known["question_id"], known[CLEAN].astype(bool), strict=True))


def read_bank(root: Path) -> pd.DataFrame:
    """What bank.parquet says of each rationale but its text; empty where it isn't there."""
    frame = _read(root, "bank.parquet", _BANK)
    if frame.empty or not {*RATIONALE_KEY, "role", "right", "corruption"} <= set(frame.columns):
        return pd.DataFrame()
    frame = frame.assign(corruption=frame["corruption"].fillna(""), right=frame["right"].eq(True))
    return frame if "condition" in frame else frame.assign(condition="")


def read_bank_teachers(root: Path) -> list[str]:
    """The teachers of bank.parquet, in their order; none where it isn't there."""
    frame = _read(root, "bank.parquet", ["teacher", "role"])
    return [] if frame.empty else list(frame[frame["role"] == "teacher"]["teacher"].unique())


def read_items(root: Path) -> dict[tuple[str, str], str]:
    """(task, question_id) -> question; empty where the questions are not published."""
    frame = _read(root, "items.parquet", ["task", "question_id", "question"])
    if "question" not in frame:
        return {}
    return frame.set_index(["task", "question_id"])["question"].to_dict()


def read_rationales(root: Path) -> pd.DataFrame:
    """bank.parquet with its texts, "" where they aren't published; empty where it isn't there."""
    names = [*_BANK, "text", "question", "gold"]
    frame = _read(root, "bank.parquet", names)
    if not {*RATIONALE_KEY, "right"} <= set(frame.columns):
        return pd.DataFrame(columns=names)
    texts = [name for name in names if name not in ("sample", "right")]
    known = {name: frame[name].fillna("").astype(str) for name in texts if name in frame}
    made = {name: known.get(name, "") for name in texts}
    return frame.assign(right=frame["right"].eq(True), **made)
