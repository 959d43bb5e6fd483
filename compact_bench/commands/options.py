"""The options of the commands, and what they come to."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from compact_bench.execution.plan import Options
    from compact_bench.suite.schema import Suite

FOLDER = click.Path(path_type=Path)
MOST_JOBS = 1024  # as the key `jobs` of a suite has it

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

MIRROR = click.option(
    "--mirror",
    type=FOLDER,
    envvar="COMPACT_BENCH_MIRROR",
    help="Folder with the data sets' files, instead of downloads.",
)

PLUGINS = click.option(
    "--plugins", type=FOLDER, multiple=True, help="Folder of more methods, one .py file each."
)

OVERRIDES = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a suite key."
)

_LIMIT = click.option("--limit", metavar="N", help="N training questions and N items a task.")


class Minutes(click.ParamType):
    """A number of minutes above 0."""

    name = "minutes"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """The number; a line for the user where it is none."""
        try:
            minutes = float(value)
        except ValueError:
            minutes = math.nan
        if not minutes > 0:
            self.fail(f"{value!r} is no number of minutes; allowed: above 0, or inf", param, ctx)
        return minutes


def _options(*options: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return lambda command: reduce(
        lambda function, option: option(function), reversed(options), command
    )


LIMITS = _options(
    click.option(
        "--cell-minutes", type=Minutes(), metavar="N", help="End a cell that takes longer [none]."
    ),
    click.option(
        "--stall-minutes",
        type=Minutes(),
        metavar="N",
        help="End a cell in which nothing happens for so long [120].",
    ),
    click.option(
        "--trust-remote-code",
        is_flag=True,
        help="Allow a suite to run Python code that comes with a model.",
    ),
)

READING = _options(
    click.argument("file", type=FOLDER),
    click.option("--profile", help="Profile of the suite file [default: mini]."),
    click.option(
        "--results", type=FOLDER, default=Path("results"), show_default=True, help="Results folder."
    ),
)

CHOOSING = _options(
    READING,
    OVERRIDES,
    click.option("--only", multiple=True, metavar="METHOD", help="Only this method or row."),
    click.option("--seeds", metavar="0,1,2", help="These seeds: numbers and ranges (0-4)."),
    _LIMIT,
    click.option("--jobs", type=click.IntRange(1, MOST_JOBS), help="Cells at the same time."),
    MIRROR,
    PLUGINS,
    click.option("--retry", is_flag=True, help="Repeat diverged cells too."),
    click.option(
        "--threads",
        type=click.IntRange(1, MOST_JOBS),
        metavar="N",
        help="Threads of each cell [cores / jobs, at most 8].",
    ),
    click.option("--shard", metavar="I/N", help="Only the I-th of N equal parts of the cells."),
)

SPREADING = _options(
    click.option(
        "--executor",
        metavar="NAME",
        help="What runs cells: local, submitit (Slurm) or ray [local].",
    ),
    click.option(
        "--resource",
        "resources",
        multiple=True,
        metavar="KEY=VALUE",
        help="Of a job, as submitit or ray name it.",
    ),
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
    OVERRIDES,
    click.option("--seeds", metavar="0,1,2", help="Seeds that test the winner."),
    _LIMIT,
    click.option("--jobs", type=click.IntRange(1, MOST_JOBS), help="Trials at the same time."),
    MIRROR,
    PLUGINS,
)


def suite_of(
    suite: str | Path | Mapping[str, Any],
    profile: str | None,
    overrides: Sequence[str] = (),
    seeds: str | Sequence[int] | None = None,
    limit: str | int | None = None,
) -> Suite:
    """The suite of a file, or of its values, under the options that change it."""
    from compact_bench.suite.schema import load_suite, parse_seeds, suite_path

    source = suite if isinstance(suite, Mapping) else suite_path(Path(suite))
    numbers = parse_seeds(seeds) if isinstance(seeds, str) else [*(seeds or ())]
    return load_suite(source, profile, overrides, {"seeds": numbers or None, "limit": limit})


def suite_and_options(
    file: str | Path | Mapping[str, Any],
    profile: str | None,
    results: str | Path,
    overrides: Sequence[str] = (),
    only: Sequence[str] = (),
    seeds: str | Sequence[int] | None = None,
    limit: str | int | None = None,
    jobs: int | None = None,
    mirror: str | Path | None = None,
    plugins: Sequence[str | Path] = (),
    retry: bool = False,
    **limits: Any,
) -> tuple[Suite, Options]:
    """The suite and the options of `run` and `plan`; limits: the options of LIMITS, by name."""
    from compact_bench.execution.plan import Options

    folders = Path(results), Path(mirror) if mirror else None, tuple(map(Path, plugins))
    suite = suite_of(file, profile, overrides, seeds, limit)
    return suite, Options(*folders, tuple(only), jobs, retry, **given(limits))


def given(limits: Mapping[str, Any]) -> dict[str, Any]:
    """The options of LIMITS that a user gave; the others have their defaults."""
    return {name: value for name, value in limits.items() if value is not None}


def results_folder(file: Path, profile: str | None, results: Path) -> Path:
    """The folder of a suite file's results below `results`."""
    from compact_bench.execution.plan import suite_folder

    return suite_folder(suite_of(file, profile), results)
