"""`list`: what there is to choose from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compact_bench.commands.options import JSON, PLUGINS
from compact_bench.errors import UserError
from compact_bench.utils import printing
from compact_bench.utils.printing import Rows

if TYPE_CHECKING:
    from compact_bench.suite.schema import Suite

Listing = tuple[Rows, list[str]]  # the rows of one kind of thing, and remarks for the reader


def methods(plugins: Sequence[Path]) -> Listing:
    """Every distiller, and every source of distillers that can't be read, with its reason."""
    from compact_bench.methods import registry as registry_module

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
    empty = {"reference": "", "needs": [], "hook": "", "uses_gold": False, "version": None}
    rows += [
        {"name": Path(source).stem, **empty, "settings": [], "broken": f"{source}: {reason}"}
        for source, reason in registry.broken.items()
    ]
    return rows, []


def _loaded() -> tuple[list[tuple[Path, Suite]], list[str]]:
    """Every profile of every suite file that can be read, and the errors of the others."""
    from compact_bench.suite.schema import load_suite, profiles

    project = Path(__file__).resolve().parents[2] / "suites"  # in a checkout
    folders = {folder.resolve(): folder for folder in (project, Path("suites"))}
    suites: list[tuple[Path, Suite]] = []
    errors: list[str] = []
    for file in [file for folder in folders.values() for file in sorted(folder.glob("*.yaml"))]:
        try:
            names: list[str | None] = [*profiles(file)] or [None]
            suites += [(file, load_suite(file, name)) for name in names]
        except UserError as error:
            errors.append(str(error))
    return suites, errors


def suites() -> Listing:
    """Every suite file with its profiles."""
    loaded, errors = _loaded()
    rows: dict[Path, dict[str, Any]] = {}
    for file, suite in loaded:
        empty = {"name": suite.suite, "profiles": [], "title": suite.title, "file": str(file)}
        rows.setdefault(file, empty)["profiles"].append(suite.profile)
    return list(rows.values()), errors


def tasks() -> Listing:
    """Every task that a suite asks."""
    loaded, errors = _loaded()
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for _, suite in loaded:
        for task in suite.evaluation.tasks:
            empty = {"name": task.task, "role": task.role, "kind": task.kind, "used_by": []}
            row = rows.setdefault((task.task, task.role), empty)
            row["used_by"].append(f"{suite.suite}/{suite.profile}")
    return list(rows.values()), [*errors, "also any task of lm-eval by its name, kind: lm_eval"]


def students() -> Listing:
    """Every student that a suite trains."""
    loaded, errors = _loaded()
    rows: dict[str, dict[str, Any]] = {}
    for _, suite in loaded:
        student = suite.student
        training = "full" if student.lora is None else f"LoRA r {student.lora.r}"
        empty = {"name": student.id, "dtype": student.dtype, "training": training, "used_by": []}
        rows.setdefault(student.id, empty)["used_by"].append(f"{suite.suite}/{suite.profile}")
    return list(rows.values()), [*errors, "also any hub id, model folder or .gguf file"]


def datasets() -> Listing:
    """The generated problems and every data set of the catalog."""
    from compact_bench.data.sources import summary

    mini = {"name": "mini", "title": "generated problems with a known solution"}
    own = "also a file of your own, or a data set of the hub: docs/own_data.md"
    return [mini, *map(dict, summary())], [own]


KINDS: dict[str, Callable[[], Listing]] = {
    "suites": suites,
    "tasks": tasks,
    "students": students,
    "datasets": datasets,
}


@click.command("list")
@click.argument("what", type=click.Choice(["methods", *KINDS]))
@PLUGINS
@JSON
def list_(what: str, plugins: tuple[Path, ...], as_json: bool) -> None:
    """List what there is to choose from."""
    rows, remarks = methods(plugins) if what == "methods" else KINDS[what]()
    click.echo(printing.as_json(rows) if as_json else printing.table_text(rows))
    for remark in remarks:
        click.echo(remark, err=True)
