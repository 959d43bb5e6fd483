"""`verify`: whether results are still what was recorded."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from compact_bench.commands.options import FOLDER, JSON
from compact_bench.utils import printing


@click.command()
@click.argument("results", type=FOLDER)
@JSON
def verify(results: Path, as_json: bool) -> int:
    """Check the records in RESULTS against their checksums, and its tables against the records.

    RESULTS is a folder such as results/gsm8k/mini or results/published/gsm8k/mini. Exit code 1
    where something doesn't match.
    """
    from compact_bench.report import verification

    found = verification.verify(results)
    if as_json:
        click.echo(printing.as_json(asdict(found)))
    else:
        for problem in found.problems:
            click.echo(" ".join(problem.split()))
        click.echo(
            f"{results}: {found.same} cells as they were recorded, {found.readable} readable "
            f"without checksums, {found.missing} not run, {found.tables} tables as the records "
            f"give them, {len(found.problems)} problems"
        )
    return int(bool(found.problems))
