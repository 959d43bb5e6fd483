"""`validate`: check suite files without running them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from compact_bench.commands.options import MIRROR, PLUGINS
from compact_bench.errors import UserError

if TYPE_CHECKING:
    from compact_bench.methods.registry import Registry
    from compact_bench.suite.schema import Suite
    from compact_bench.suite.sections import ConditionSpec


def check(
    file: Path,
    profile: str | None,
    mirror: Path | None,
    plugins: Sequence[Path],
    say: Callable[[str], None],
) -> list[str]:
    """Return the problems of a suite file, one a profile at most; say what is right."""
    from compact_bench.methods import registry
    from compact_bench.suite.schema import load_suite, profiles

    try:
        names: list[str | None] = [profile] if profile else [*profiles(file)] or [None]
        methods = registry.load(plugins)
    except UserError as error:
        return [str(error)]
    problems = []
    for name in names:
        try:
            suite = load_suite(file, name)
            rows, extent = _check(suite, methods, mirror)
        except UserError as error:
            problems.append(str(error))
        else:
            say(f"{file} {suite.profile}: {rows} rows, {len(suite.seeds)} seeds: ok ({extent})")
    return problems


def _check(suite: Suite, methods: Registry, mirror: Path | None) -> tuple[int, str]:
    """Check methods and student; and the data where that needs no download."""
    from compact_bench.student.load import student_hash
    from compact_bench.suite import matrix

    try:
        student_hash(suite.student)
    except UserError as error:
        raise UserError(f"{suite.where(('student', 'id'))}: {error}") from None
    sources = [suite.data.source, *(task.source for task in suite.evaluation.tasks)]
    at_hand = all(name in (None, "mini") or str(name).endswith(".jsonl") for name in sources)
    if not (at_hand or mirror):
        _check_names(suite)
        return len(matrix.rows(suite, methods, suite.data.teachers or ["teacher"])), "data unread"
    from compact_bench.execution.prepare import prepare

    found = 0
    conditions: list[ConditionSpec | None] = [*suite.conditions] or [None]
    for condition in conditions:
        prepared = prepare(suite.under(condition), mirror)
        found = max(found, len(matrix.rows(suite, methods, prepared.train.teachers)))
    return found, "data read"


def _check_names(suite: Suite) -> None:
    """Check the names of data sets and teachers against the catalog, which is at hand."""
    from compact_bench.data.sources import catalog, dataset, teacher_part

    if not suite.data.source.endswith(".jsonl") and suite.data.source != "mini":
        data = dataset(suite.data.source)
        for teacher in suite.data.teachers:
            teacher_part(data, teacher)
    for task in suite.evaluation.tasks:
        name = task.source or task.task
        if task.kind == "lm_eval" or name in ("in_domain", *catalog().datasets):
            continue
        if not (name.endswith(".jsonl") or suite.data.source == "mini"):
            dataset(name)


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--profile", help="Check this profile only [default: all].")
@MIRROR
@PLUGINS
def validate(
    files: tuple[Path, ...], profile: str | None, mirror: Path | None, plugins: tuple[Path, ...]
) -> None:
    """Check suite FILES without running them; with --mirror, their data too."""
    from compact_bench.suite.schema import suite_path

    problems = [
        problem
        for file in files
        for problem in check(suite_path(file), profile, mirror, plugins, click.echo)
    ]
    if problems:
        for problem in problems[:-1]:
            click.echo(f"Error: {problem}", err=True)
        raise click.UsageError(problems[-1])
