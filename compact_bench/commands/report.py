"""`report`, `compare` and `agree`: what is made of records alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from compact_bench.commands.options import FOLDER, JSON, READING, results_folder
from compact_bench.utils import printing

FORMATS = ("svg", "pdf", "png")


def figure_formats(context: Any, parameter: Any, text: str) -> tuple[str, ...]:
    """The formats that a user names, separated by commas."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in FORMATS:
            allowed = ", ".join(FORMATS)
            raise click.BadParameter(f"{name!r} is no format of a figure; allowed: {allowed}")
    return names


@click.command()
@READING
@click.option(
    "--formats",
    default="svg",
    show_default=True,
    callback=figure_formats,
    metavar="svg,pdf,png",
    help="Formats of the figures.",
)
def report(file: Path, profile: str | None, results: Path, formats: tuple[str, ...]) -> None:
    """Make the tables and figures of FILE again, from its records alone."""
    from compact_bench.report import page
    from compact_bench.tune.report import page as tune_page

    root = results_folder(file, profile, results)
    page.show(root, say=click.echo, formats=formats)
    for made in tune_page.rebuild(root, formats):
        click.echo(f"report: {made.page}")


@click.command()
@click.argument("results", type=FOLDER)
@click.argument("method_a")
@click.argument("method_b")
@JSON
def compare(results: Path, method_a: str, method_b: str, as_json: bool) -> None:
    """Say in words and numbers how METHOD_A differs from METHOD_B.

    RESULTS is a folder such as results/gsm8k/mini; rows are named by label, or by method where
    only one row has it.
    """
    from compact_bench.report import comparison

    compared = comparison.compare(results, method_a, method_b)
    if as_json:
        click.echo(printing.as_json(comparison.content(compared)))
    else:
        click.echo(comparison.text(compared))


@click.command()
@click.argument("results_a", type=FOLDER)
@click.argument("results_b", type=FOLDER)
@JSON
def agree(results_a: Path, results_b: Path, as_json: bool) -> None:
    """Say whether RESULTS_A ranks the rows as RESULTS_B does: Kendall's tau, its interval."""
    from compact_bench.report import comparison

    agreed = comparison.agree(results_a, results_b)
    if as_json:
        click.echo(printing.as_json(comparison.ranking_content(agreed)))
    else:
        click.echo(comparison.ranking_text(agreed))
