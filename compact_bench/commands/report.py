"""`report`: tables, figures and the page again, from records alone."""

from __future__ import annotations

from pathlib import Path

import click

from compact_bench.commands.options import READING, results_folder


@click.command()
@READING
def report(file: Path, profile: str | None, results: Path) -> None:
    """Make the tables and figures of FILE again, from its records alone."""
    from compact_bench.report import page
    from compact_bench.tune.report import page as tune_page

    root = results_folder(file, profile, results)
    page.show(root, say=click.echo)
    for made in tune_page.rebuild(root):
        click.echo(f"report: {made.page}")
