"""suite.json: the resolved suite, its cells in table order, and facts for the captions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compact_bench.errors import UserError
from compact_bench.utils.files import write_json


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
        cells = tuple({**cell, "label": str(cell["label"])} for cell in content["cells"])
        notes, tries = (tuple(content.get(key, ())) for key in ("notes", "tries"))
        return SuiteRecord(dict(content["suite"]), cells, notes, tries)
    except FileNotFoundError as error:
        raise UserError(f"no results in {root}: run the suite first") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"cannot read {path}: {error!r}") from error
