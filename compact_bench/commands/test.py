"""`test`: the conformance checks of one method."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from compact_bench.commands.options import JSON, PLUGINS
from compact_bench.errors import UserError
from compact_bench.utils import printing

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
        raise UserError(f"--set {where}: {problem['msg']}") from None


def _values(settings: Sequence[str]) -> dict[str, Any]:
    import yaml

    values: dict[str, Any] = {}
    for text in settings:
        key, equals, value = text.partition("=")
        try:
            values[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            equals = ""
        if not equals:
            raise UserError(f"--set {text}: expected KEY=VALUE")
    return values


def text(name: str, rows: Rows) -> str:
    """The rows as a table, with what each failed check demands below it."""
    short = [{key: row[key] for key in ("check", "result", "why")} for row in rows]
    demands = [f"{r['check']}: {r['description']}" for r in rows if r["result"] == "FAILED"]
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
