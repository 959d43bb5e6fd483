"""`merge`: the results of several machines as those of one run."""

from __future__ import annotations

from pathlib import Path

import click

from compact_bench.commands.options import FOLDER


@click.command()
@click.argument("folders", type=FOLDER, nargs=-1, required=True)
@click.option("--into", type=FOLDER, required=True, help="Such as results/gsm8k/mini.")
def merge(folders: tuple[Path, ...], into: Path) -> int:
    """Put the results of several runs of one suite into one folder, and report them.

    FOLDERS such as node1/gsm8k/mini are the results of `run --shard I/N`, say. Exit code: 0 all
    cells are done or skipped with a reason, 1 some failed or are missing, 2 they don't fit.
    """
    from compact_bench.analysis import results
    from compact_bench.records.merge import merge as merge_records
    from compact_bench.report import page

    merge_records(folders, into)
    page.show(into, click.echo)
    states = results.count_states(results.read(into))
    click.echo("cells: " + ", ".join(f"{count} {state}" for state, count in sorted(states.items())))
    return 0 if {*states} <= {"done", "skipped"} else 1
