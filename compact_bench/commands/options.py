"""The options of the commands, and what they come to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from compact_bench.execution.plan import Options
    from compact_bench.suite.schema import Suite

FOLDER = click.Path(path_type=Path)


def _options(*options: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


SUITE_FILE = click.argument("file", type=click.Path(path_type=Path))

PROFILE = click.option("--profile", help="Profile of the suite file [default: mini].")

RESULTS = click.option(
    "--results", type=FOLDER, default=Path("results"), show_default=True, help="Results folder."
)

MIRROR = click.option(
    "--mirror",
    type=FOLDER,
    envvar="COMPACT_BENCH_MIRROR",
    help="Folder with the data sets' files, instead of downloads.",
)

PLUGINS = click.option(
    "--plugins", type=FOLDER, multiple=True, help="Folder of more methods, one .py file each."
)

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

READING = _options(SUITE_FILE, PROFILE, RESULTS)

CHOOSING = _options(
    READING,
    click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a suite key."),
    click.option("--only", multiple=True, metavar="METHOD", help="Only this method or row."),
    click.option("--seeds", metavar="0,1,2", help="These seeds: numbers and ranges (0-4)."),
    click.option("--limit", metavar="N", help="N training questions and N items a task."),
    click.option("--jobs", type=click.IntRange(min=1), help="Cells at the same time."),
    MIRROR,
    PLUGINS,
    click.option("--retry", is_flag=True, help="Repeat diverged cells too."),
)

TUNING = _options(
    READING,
    click.option("--method", "methods", multiple=True, metavar="ROW", help="Tune this row."),
    click.option("--methods", "more", metavar="A,B,C", help="Tune each of these rows alike."),
    click.option("--ablation", is_flag=True, help="Tune every row of the suite's ablation alike."),
    click.option("--trials", type=click.IntRange(min=1), help="Finished trials of each row [40]."),
    click.option("--objective", multiple=True, help="marginal_nll, accuracy, old_accuracy."),
    click.option("--sampler", help="tpe, random, grid, or nsga2 of two objectives [tpe]."),
    click.option("--pruner", help="median, asha or none [median]."),
    click.option("--seed", type=int, help="Seed of the sampler [0]."),
    click.option("--trial-seeds", metavar="100,101", help="Seeds that every trial trains [100]."),
    click.option("--tokens", type=float, help="Training tokens of each row's trials, at most."),
    click.option(
        "--storage",
        envvar="COMPACT_BENCH_STORAGE",
        metavar="URL",
        help="Optuna storage to share [a journal file in the results].",
    ),
    click.option("--study", default="", metavar="NAME", help="Keep this search apart from others."),
    click.option("--no-test", is_flag=True, help="Search only; leave the test split alone."),
    click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a suite key."),
    click.option("--seeds", metavar="0,1,2", help="Seeds that test the winner."),
    click.option("--limit", metavar="N", help="N training questions and N items a task."),
    click.option("--jobs", type=click.IntRange(min=1), help="Trials at the same time."),
    MIRROR,
    PLUGINS,
)


def suite_and_options(
    file: Path,
    profile: str | None,
    results: Path,
    overrides: tuple[str, ...],
    only: tuple[str, ...],
    seeds: str | None,
    limit: str | None,
    jobs: int | None,
    mirror: Path | None,
    plugins: tuple[Path, ...],
    retry: bool,
) -> tuple[Suite, Options]:
    """Make the suite and the options of ``run`` and ``plan``."""
    from compact_bench.execution.plan import Options
    from compact_bench.suite.schema import load_suite, parse_seeds, suite_path

    more = {"seeds": parse_seeds(seeds) if seeds else None, "limit": limit}
    suite = load_suite(suite_path(file), profile, overrides, more)
    return suite, Options(results, mirror, plugins, only, jobs, retry)


def results_folder(file: Path, profile: str | None, results: Path) -> Path:
    """Return where the output of a suite file lies below ``results``."""
    from compact_bench.execution.plan import suite_folder
    from compact_bench.suite.schema import load_suite, suite_path

    return suite_folder(load_suite(suite_path(file), profile), results)
