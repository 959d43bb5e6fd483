"""`validate`: check suite files without running them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import click

from compact_bench.commands.options import FOLDER, MIRROR, OVERRIDES, PLUGINS
from compact_bench.errors import UserError

if TYPE_CHECKING:
    from compact_bench.methods.registry import Registry
    from compact_bench.suite.schema import Suite
    from compact_bench.suite.sections import ConditionSpec


def problems(
    file: Path,
    profile: str | None,
    mirror: Path | None,
    plugins: Sequence[Path],
    overrides: Sequence[str] = (),
) -> Iterator[str]:
    """Yield the problems of a suite file, one a profile at most; print what is right."""
    from compact_bench.methods import registry
    from compact_bench.suite.schema import load_suite, profiles

    try:
        names: list[str | None] = [profile] if profile else [*profiles(file)] or [None]
        methods = registry.load(plugins)
    except UserError as error:
        yield str(error)
        return
    for name in names:
        try:
            suite = load_suite(file, name, overrides)
            rows, extent = _rows(suite, methods, mirror)
        except UserError as error:
            yield str(error)
        else:
            seeds = len(suite.seeds)
            counts = f"{rows} row{'s' * (rows != 1)}, {seeds} seed{'s' * (seeds != 1)}"
            click.echo(f"{file} {suite.profile}: {counts}: ok ({extent})")


def _rows(suite: Suite, methods: Registry, mirror: Path | None) -> tuple[int, str]:
    """Check methods, student and, without a download, data; the number of rows, and what of it."""
    from compact_bench.data.readers import hub_address
    from compact_bench.execution.checks import check_tasks
    from compact_bench.execution.plan import student_identity
    from compact_bench.execution.prepare import is_own_file, prepare
    from compact_bench.suite import matrix

    student_identity(suite)
    check_tasks(suite)
    sources = [suite.data.source, *(task.source for task in suite.evaluation.tasks)]
    at_hand = all(name is None or name == "mini" or is_own_file(name) for name in sources)
    of_hub = any(name and hub_address(name) for name in [*sources, suite.data.test_source])
    if of_hub or not (at_hand or mirror):
        _check_names(suite)
        return len(matrix.rows(suite, methods, suite.data.teachers or ["teacher"])), "data unread"
    conditions: list[ConditionSpec | None] = [*suite.conditions] or [None]
    prepared = (prepare(suite.under(condition), mirror) for condition in conditions)
    return max(len(matrix.rows(suite, methods, p.train.teachers)) for p in prepared), "data read"


def _check_names(suite: Suite) -> None:
    """Check the names of data sets and teachers against the catalog, which is at hand."""
    from compact_bench.data.corrupt import check_shares
    from compact_bench.data.sources import catalog, dataset, teacher_part
    from compact_bench.execution.prepare import is_own_file

    conditions: list[ConditionSpec | None] = [*suite.conditions] or [None]
    for data in (suite.under(condition).data for condition in conditions):
        check_shares(data.corrupt, data.source == "mini", data.corrupt_persistent)
    if not is_own_file(suite.data.source) and suite.data.source != "mini":
        known = dataset(suite.data.source)
        for teacher in suite.data.teachers:
            teacher_part(known, teacher)
    for task in suite.evaluation.tasks:
        name = task.source or task.task
        if task.kind == "lm_eval" or name in ("in_domain", *catalog().datasets):
            continue
        if not (is_own_file(name) or suite.data.source == "mini"):
            dataset(name)


@click.command()
@click.argument("files", nargs=-1, required=True, type=FOLDER)
@click.option("--profile", help="Check this profile only [default: all].")
@OVERRIDES
@MIRROR
@PLUGINS
def validate(
    files: tuple[Path, ...],
    profile: str | None,
    overrides: tuple[str, ...],
    mirror: Path | None,
    plugins: tuple[Path, ...],
) -> None:
    """Check suite FILES without running them; with --mirror, their data too."""
    from compact_bench.suite.schema import suite_path

    found = (problems(suite_path(file), profile, mirror, plugins, overrides) for file in files)
    messages = [*dict.fromkeys(chain.from_iterable(found))]  # profiles share most of their keys
    for problem in messages[:-1]:
        click.echo(f"Error: {problem}", err=True)
    if messages:
        raise click.UsageError(messages[-1])
