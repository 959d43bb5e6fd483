"""`run`: tune where the suite asks for it, train what is missing, then make the report."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from compact_bench.commands.options import (
    CHOOSING,
    JSON,
    LIMITS,
    SPREADING,
    suite_and_options,
)
from compact_bench.utils import printing

if TYPE_CHECKING:
    from compact_bench.execution.plan import Options
    from compact_bench.execution.pool import WorkerEntry
    from compact_bench.suite.schema import Suite


@click.command()
@CHOOSING
@SPREADING
@LIMITS
@JSON
def run(as_json: bool, **arguments: Any) -> int:
    """Run what is missing of the suite FILE, then make its tables and figures.

    The same command again does only what is missing or has failed; beside it, also on another
    machine with the same disk, it takes cells that the other hasn't begun. Exit code: 0 all
    cells are done or skipped with a reason, 1 some failed, 2 bad input and nothing started.
    """
    suite, options = suite_and_options(**arguments)
    if not as_json:
        return run_suite(suite, options, say=click.echo)
    from compact_bench.execution.plan import suite_folder
    from compact_bench.report import page

    code = run_suite(suite, options, say=partial(click.echo, err=True))
    click.echo(printing.as_json(page.answer(suite_folder(suite, options.results))))
    return code


def run_suite(
    suite: Suite,
    options: Options,
    say: Callable[[str], None] = print,
    entry: WorkerEntry | None = None,
) -> int:
    """Tune, train and report; return the exit code: 0 all went well, 1 a cell failed, 130 Ctrl-C.

    Raises UserError before anything has started. ``entry`` replaces what a worker calls.
    """
    from compact_bench.analysis import resolution, results
    from compact_bench.execution import run as execution
    from compact_bench.execution.plan import suite_folder, untuned
    from compact_bench.tune import winners

    root = suite_folder(suite, options.results)
    if suite.ablation is not None and suite.ablation.tuned:
        from compact_bench.errors import UserError
        from compact_bench.tune import search

        if options.shard and untuned(winners.with_tuned(suite, root)):
            raise UserError(
                f"--shard {options.shard}: this suite's ablation is searched first; do that once, "
                f"by `tune FILE --ablation --no-test`, and copy {root / 'tune'} to every machine"
            )
        if code := search.tune(suite, options, search.TuneOptions((), test=False), say, entry):
            return code
    report = partial(importlib.import_module, "compact_bench.report.page")
    code = execution.run(winners.with_tuned(suite, root), options, say, entry, report)
    if code != execution.INTERRUPTED:
        page = report()
        page.show(root, say, options.only)
        for line in resolution.measured(results.read(root)):
            say(line)
    return code
