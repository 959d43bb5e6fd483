"""`plan` and `audit`: what a suite will take to run, and what its teachers are worth."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compact_bench.commands.options import CHOOSING, FOLDER, JSON, suite_and_options
from compact_bench.utils import printing

if TYPE_CHECKING:
    import pandas as pd

    from compact_bench.data.rationales import RationaleBank
    from compact_bench.suite.schema import Suite


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
    lines = [head, printing.table_text(rows), "", *summary["notes"], *resolution_lines(summary)]
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


def resolution_lines(summary: dict[str, Any]) -> list[str]:
    """What the suite's items and seeds can see: a table, and a line for each task too small.

    Nothing where the suite compares its rows to none.
    """
    from compact_bench.analysis import claims
    from compact_bench.analysis.resolution import Design, advice

    tests = [cell for cell in summary["cells"] if cell["split"] == "test"]
    reference = summary["compare_to"]
    rows = {
        (cell["label"], cell["condition"])
        for cell in tests
        if reference not in (cell["label"], cell["method"])
    }
    if not reference or not rows:
        return []
    together = len(rows) // max(len({condition for _, condition in rows}), 1)
    comparisons = len(rows) * len(summary["tasks"])
    level = claims.LEVEL / comparisons
    designs = [
        (task["task"], Design(task["role"], task["items"], len(summary["seeds"]), together))
        for task in summary["tasks"]
    ]

    def points(share: float) -> str:
        return "-" if math.isnan(share) else f"{100 * share:.1f}"

    table = [
        {
            "task": title,
            "items": design.items,
            "seeds": design.seeds,
            "±": points(design.expected().half_width),
            "found in 80% at 5%": points(design.detectable()),
            f"corrected for {comparisons}": points(design.detectable(level)),
        }
        for title, design in designs
    ]
    title = f"differences to {reference} that this suite can see, in points:"
    return ["", title, printing.table_text(table), *advice(designs), ""]


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


@click.command()
@CHOOSING
@click.option("--nll", is_flag=True, help="Also how likely the student finds each teacher's texts.")
@click.option("--figure", type=FOLDER, metavar="FILE", help="Draw it: .svg, .pdf or .png.")
@JSON
def audit(nll: bool, figure: Path | None, as_json: bool, **arguments: Any) -> None:
    """Say which teachers of the suite FILE are worth their price, before anything is trained.

    Of each teacher: right answers, length, steps, repeated texts; of all together, who errs on the
    same questions and whom to pay first; test questions that are trained on.
    """
    from compact_bench.analysis.audit import audit as made_of
    from compact_bench.errors import UserError
    from compact_bench.execution.prepare import prepare
    from compact_bench.report import audit as printed
    from compact_bench.suite.schema import IN_DOMAIN

    if figure and figure.suffix not in (".svg", ".pdf", ".png"):
        raise UserError(f"--figure {figure}: the ending is none of .svg, .pdf, .png")
    suite, options = suite_and_options(**arguments)
    prepared = prepare(suite, options.mirror)
    bank = prepared.train.only_teachers(prepared.train.teachers)
    items = next((task.items for task in prepared.tasks if task.name == IN_DOMAIN), None)
    questions = [] if items is None else list(items["question"])
    found = made_of(bank, questions, _nll(suite, bank) if nll else None)
    click.echo(printing.as_json(printed.content(found)) if as_json else printed.text(found))
    if figure:
        click.echo(f"figure: {printed.draw(found, figure)}", err=as_json)


def _nll(suite: Suite, bank: RationaleBank) -> pd.Series:
    """Nats a token of each rationale under the untrained student."""
    import pandas as pd

    from compact_bench.student.load import load_student

    student = load_student(suite.student)
    student.max_tokens = suite.training.max_tokens
    values = student.scores(bank, lambda batch: student.forward(batch).nll)
    return pd.Series({tuple(key): value for key, value in values.items()}, dtype=float)
