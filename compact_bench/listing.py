"""What `list` and `plan` print, as rows, as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from compact_bench import registry as registry_module
from compact_bench.errors import UserError
from compact_bench.progress import clock_time
from compact_bench.suite import Suite, load_suite, profiles

Rows = list[dict[str, Any]]
Found = tuple[Rows, list[str]]


def find(what: str, plugins: Sequence[Path]) -> Found:
    """Return the rows of one kind of thing, and remarks for the reader."""
    finders: dict[str, Callable[[], Found]] = {
        "methods": lambda: methods(plugins),
        "suites": suites,
        "tasks": tasks,
        "students": students,
        "datasets": datasets,
    }
    return finders[what]()


def methods(plugins: Sequence[Path]) -> Found:
    """Every distiller, and every source of distillers that can't be read, with its reason."""
    registry = registry_module.load(plugins)
    rows: Rows = [
        {
            "name": name,
            "reference": method.reference,
            "needs": sorted(method.needs),
            "hook": method.hook(),
            "uses_gold": method.uses_gold,
            "version": method.version,
            "settings": sorted(method.Config.model_fields),
            "broken": None,
        }
        for name, method in sorted(registry.methods.items())
    ]
    for source, reason in registry.broken.items():
        empty = {"reference": "", "needs": [], "hook": "", "uses_gold": False, "version": None}
        rows.append(
            {"name": Path(source).stem, **empty, "settings": [], "broken": f"{source}: {reason}"}
        )
    return rows, []


def _suite_files() -> list[Path]:
    """The suite files of this folder and, in a checkout, of the project."""
    project = Path(__file__).resolve().parent.parent / "suites"
    folders = {folder.resolve(): folder for folder in (project, Path("suites"))}
    return [file for folder in folders.values() for file in sorted(folder.glob("*.yaml"))]


def _loaded() -> tuple[list[tuple[Path, Suite]], list[str]]:
    """Every profile of every suite file that can be read, and the errors of the others."""
    found: list[tuple[Path, Suite]] = []
    errors: list[str] = []
    for file in _suite_files():
        try:
            names: list[str | None] = [*profiles(file)] or [None]
            found += [(file, load_suite(file, name)) for name in names]
        except UserError as error:
            errors.append(str(error))
    return found, errors


def suites() -> Found:
    """Every suite file with its profiles."""
    loaded, errors = _loaded()
    rows: dict[Path, dict[str, Any]] = {}
    for file, suite in loaded:
        empty = {"name": suite.suite, "profiles": [], "title": suite.title, "file": str(file)}
        rows.setdefault(file, empty)["profiles"].append(suite.profile)
    return list(rows.values()), errors


def tasks() -> Found:
    """Every task that a suite asks."""
    loaded, errors = _loaded()
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for _, suite in loaded:
        for task in suite.evaluation.tasks:
            empty = {"name": task.task, "role": task.role, "kind": task.kind, "used_by": []}
            row = rows.setdefault((task.task, task.role), empty)
            row["used_by"].append(f"{suite.suite}/{suite.profile}")
    return list(rows.values()), [*errors, "also any task of lm-eval by its name, kind: lm_eval"]


def students() -> Found:
    """Every student that a suite trains."""
    loaded, errors = _loaded()
    rows: dict[str, dict[str, Any]] = {}
    for _, suite in loaded:
        student = suite.student
        training = "full" if student.lora is None else f"LoRA r {student.lora.r}"
        empty = {"name": student.id, "dtype": student.dtype, "training": training, "used_by": []}
        rows.setdefault(student.id, empty)["used_by"].append(f"{suite.suite}/{suite.profile}")
    return list(rows.values()), [*errors, "also any hub id, model folder or .gguf file"]


def datasets() -> Found:
    """The generated problems and every data set of the catalog."""
    from compact_bench.data.sources import summary

    mini = {"name": "mini", "title": "generated problems with a known solution"}
    return [mini, *map(dict, summary())], ["also any JSONL file of {question, rationales, answer}"]


def as_json(value: Any) -> str:
    """Return JSON for a script to read."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def table_text(rows: Rows) -> str:
    """Return rows as aligned columns; empty columns are left out."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    columns = [key for key in columns if any(_cell(row.get(key)) for row in rows)]
    lines = [columns] + [[_cell(row.get(key)) for key in columns] for row in rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _cell(value: Any) -> str:
    if isinstance(value, (list, tuple, dict)):  # of a mapping, its keys: the rest is for --json
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)


def plan_text(found: dict[str, Any]) -> str:
    """Return a plan as a table with its estimate."""
    columns = {"label": "row", "condition": "condition", "seed": "seed"}
    if len({cell["split"] for cell in found["cells"]}) > 1:
        columns |= {"split": "split", "learning_rate": "learning rate"}
    columns |= {"run_id": "run_id", "status": "status", "pending": "to do"}
    rows = [{title: cell[key] for key, title in columns.items()} for cell in found["cells"]]
    estimate = found["estimate"]
    head = f"{found['suite']} {found['profile']} -> {found['results']}"
    threads = f"{found['jobs']} at a time, {found['threads']} threads each"
    lines = [head, table_text(rows), "", *found["notes"]]
    if any(cell["status"] == "waiting" for cell in found["cells"]):
        lines.append("waiting: for the learning rate that the dev split chooses")
    if estimate["cells"]:
        lines += [
            f"{estimate['cells']} cells to do, {threads}: about {clock_time(estimate['seconds'])},"
            f" {estimate['flops']:.1e} FLOPs, {estimate['tokens']:.1e} training tokens",
            f"estimated from {estimate['source']}",
        ]
    else:
        lines.append("nothing left to do")
    return "\n".join(lines)
