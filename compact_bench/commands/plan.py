"""`plan`: the cells of a suite, which are done, and what the rest will take."""

from __future__ import annotations

from typing import Any

import click

from compact_bench.commands.options import CHOOSING, JSON, suite_and_options
from compact_bench.utils import printing


def plan_text(summary: dict[str, Any]) -> str:
    """Return a plan as a table with its estimate."""
    from compact_bench.execution.progress import clock_time

    columns = {"label": "row", "condition": "condition", "seed": "seed"}
    if len({cell["split"] for cell in summary["cells"]}) > 1:
        columns |= {"split": "split", "learning_rate": "learning rate"}
    columns |= {"run_id": "run_id", "status": "status", "pending": "to do"}
    rows = [{title: cell[key] for key, title in columns.items()} for cell in summary["cells"]]
    estimate = summary["estimate"]
    head = f"{summary['suite']} {summary['profile']} -> {summary['results']}"
    threads = f"{summary['jobs']} at a time, {summary['threads']} threads each"
    lines = [head, printing.table_text(rows), "", *summary["notes"]]
    if any(cell["status"] == "waiting" for cell in summary["cells"]):
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


@click.command()
@CHOOSING
@JSON
def plan(as_json: bool, **arguments: Any) -> None:
    """Show the cells of the suite FILE, which are done, and what the rest will take."""
    from compact_bench.execution.plan import make_plan, suite_folder
    from compact_bench.tune import winners

    suite, options = suite_and_options(**arguments)
    suite = winners.with_tuned(suite, suite_folder(suite, options.results))
    made = make_plan(suite, options).summary(options.retry)
    click.echo(printing.as_json(made) if as_json else plan_text(made))
