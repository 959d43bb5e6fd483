"""`test`: the conformance checks of one method."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compact_bench.commands.options import JSON, PLUGINS
from compact_bench.errors import UserError, shortened
from compact_bench.utils import printing

if TYPE_CHECKING:
    from compact_bench.methods.base import Distiller

Rows = list[dict[str, str]]


def rows(name: str, plugins: Sequence[Path], settings: Sequence[str] = ()) -> Rows:
    """Run the checks of a method; settings: ``KEY=VALUE`` each, the value as in a suite file.

    Raises UserError for an unknown method or settings that it doesn't have.
    """
    from compact_bench.methods import registry

    method = registry.load(plugins).get(name)
    values = _values(settings)

    from pydantic import ValidationError
    from transformers.utils import logging

    from compact_bench.testing import run_checks  # imports torch: not for a mistyped name

    logging.disable_progress_bar()  # of loading the student
    try:
        return [asdict(result) for result in run_checks(method, values)]
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise UserError(f"--set {where}: {problem['msg']}{_known(method, problem)}") from None


def _values(settings: Sequence[str]) -> dict[str, Any]:
    from compact_bench.suite.source import option_value

    values: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise UserError(f"--set {shortened(setting)}: expected KEY=VALUE")
        values[key] = option_value(f"--set {setting}", value)
    return values


def _known(method: type[Distiller], problem: Mapping[str, Any]) -> str:
    """The settings that there are, where the problem is one that there isn't."""
    if problem["type"] != "extra_forbidden":
        return ""
    return f"; known: {', '.join(method.Config.model_fields) or 'none'}"


def text(name: str, rows: Rows) -> str:
    """The rows as a table, with what each failed check demands below it.

    What went wrong is said once: a mistake in the method fails most of the checks.
    """
    first: dict[str, str] = {}  # what went wrong -> the first check that found it
    short, demands = [], []
    for row in rows:
        why = row["why"]
        if row["result"] == "FAILED":
            if first.setdefault(why, row["check"]) == row["check"]:
                demands.append(f"{row['check']}: {row['description']}")
            else:
                why = f"as {first[why]}"
        short.append({"check": row["check"], "result": row["result"], "why": why})
    counts = Counter(row["result"] for row in rows)
    end = f"{name}: " + ", ".join(f"{count} {result}" for result, count in counts.items())
    return "\n".join([printing.table_text(short), "", *demands, end])


@click.command()
@click.argument("name")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Set a setting of it.")
@PLUGINS
@JSON
def test(name: str, settings: tuple[str, ...], plugins: tuple[Path, ...], as_json: bool) -> int:
    """Run the conformance checks on the method NAME; exit code 1 if one fails."""
    results = rows(name, plugins, settings)
    click.echo(printing.as_json(results) if as_json else text(name, results))
    return int(any(row["result"] == "FAILED" for row in results))
