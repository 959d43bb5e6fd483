"""Benchmark for distilling chain-of-thought rationales of several teachers into one student.

The door for Python, with the same runs, records and pages as the command line:

    import compact_bench

    results = compact_bench.run("suites/gsm8k.yaml", limit=8, seeds=[0])
    results = compact_bench.load("results/gsm8k/mini")
    results.metrics()  # one value a line, as a DataFrame; also differences, samples, steps, weights
    print(results.compare("compact", "average"))
    results.plot("tradeoff").savefig("tradeoff.png")
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compact_bench.report.suite_results import SuiteResults

__all__ = ["load", "run"]

__version__ = "0.1.0"


def run(
    suite: str | Path | Mapping[str, Any],
    profile: str | None = None,
    results: str | Path = "results",
    **options: Any,
) -> SuiteResults:
    """Run what is missing of a suite, make its page, and return its results.

    suite: a suite file, or its values. options: those of the command `run` by name, that is
    overrides (of `--set`), only, seeds, limit, jobs, threads, mirror, plugins, retry, shard,
    executor, resources, cell_minutes, stall_minutes and trust_remote_code. A cell that fails is
    recorded in the results; UserError, with nothing started, where the input is wrong.

        values = yaml.safe_load(open("suites/gsm8k.yaml"))
        results = compact_bench.run(values, seeds=[0, 1], only=["average", "compact"])
        results.named("compact").problems()
    """
    from compact_bench.commands.options import suite_and_options
    from compact_bench.commands.run import run_suite
    from compact_bench.execution.plan import suite_folder
    from compact_bench.execution.run import INTERRUPTED

    loaded, where = suite_and_options(suite, profile, results, **options)
    if run_suite(loaded, where) == INTERRUPTED:
        raise KeyboardInterrupt
    return load(suite_folder(loaded, where.results))


def load(folder: str | Path) -> SuiteResults:
    """Read the results of a folder such as results/gsm8k/mini or results/published/gsm8k/mini.

        results = compact_bench.load("results/gsm8k/mini")
        results.metrics().groupby(["row", "task", "metric"])["value"].mean()

    Raises UserError where no suite was run there.
    """
    from compact_bench.report import suite_results

    return suite_results.load(Path(folder))
