"""The commands. Only click is imported here: everything else waits until a command needs it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from compact_bench.options import CHOOSING, FOLDER, JSON, MIRROR, PLUGINS, READING, TUNING

if TYPE_CHECKING:
    from compact_bench.plan import Options
    from compact_bench.suite import Suite

INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a command and exit with its code; every error of the user's is one line on stderr."""
    try:
        code = commands.main(arguments, prog_name="compact_bench", standalone_mode=False)
    except click.ClickException as error:
        click.echo(f"Error: {' '.join(error.format_message().split())}", err=True)
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    sys.exit(code if isinstance(code, int) else 0)


class Commands(click.Group):
    """Turns our UserError into click's, which has exit code 2 and no traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Call the command."""
        from compact_bench.errors import UserError

        try:
            return super().invoke(ctx)
        except UserError as error:
            raise click.UsageError(str(error)) from None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="compact-bench", prog_name="compact_bench")
def commands() -> None:
    """Distil the chain-of-thought rationales of several teachers into one small student,
    by many methods, and compare them."""


@commands.command()
@CHOOSING
def run(**arguments: Any) -> int:
    """Run what is missing of the suite FILE, then make its tables and figures.

    The same command again does only what is missing or has failed. Exit code: 0 all cells are
    done or skipped with a reason, 1 some failed, 2 bad input and nothing started.
    """
    from compact_bench import runner

    suite, options = _chosen(**arguments)
    return runner.run(suite, options, say=click.echo)


@commands.command()
@CHOOSING
@JSON
def plan(as_json: bool, **arguments: Any) -> None:
    """Show the cells of the suite FILE, which are done, and what the rest will take."""
    from compact_bench import listing
    from compact_bench.estimate import summary
    from compact_bench.plan import make_plan

    suite, options = _chosen(**arguments)
    found = summary(make_plan(suite, options), options.retry)
    click.echo(listing.as_json(found) if as_json else listing.plan_text(found))


@commands.command()
@TUNING
def tune(**arguments: Any) -> int:
    """Search the settings of rows of the suite FILE on the dev split, and test the best once.

    Each row's own settings are the first trial. The same command again goes on where it was; with
    --storage many processes and machines work on one search. Exit code as of run.
    """
    from compact_bench.tune import arguments as given

    return given.run(**arguments)


@commands.command("list")
@click.argument("what", type=click.Choice(["methods", "suites", "tasks", "students", "datasets"]))
@PLUGINS
@JSON
def list_(what: str, plugins: tuple[Path, ...], as_json: bool) -> None:
    """List what there is to choose from."""
    from compact_bench import listing

    rows, remarks = listing.find(what, plugins)
    click.echo(listing.as_json(rows) if as_json else listing.table_text(rows))
    for remark in remarks:
        click.echo(remark, err=True)


@commands.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--profile", help="Check this profile only [default: all].")
@MIRROR
@PLUGINS
def validate(
    files: tuple[Path, ...], profile: str | None, mirror: Path | None, plugins: tuple[Path, ...]
) -> None:
    """Check suite FILES without running them; with --mirror, their data too."""
    from compact_bench import validation
    from compact_bench.suite import suite_path

    problems = [
        problem
        for file in files
        for problem in validation.check(suite_path(file), profile, mirror, plugins, click.echo)
    ]
    if problems:
        for problem in problems[:-1]:
            click.echo(f"Error: {problem}", err=True)
        raise click.UsageError(problems[-1])


@commands.command()
@click.argument("name")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Set a setting of it.")
@PLUGINS
@JSON
def test(name: str, settings: tuple[str, ...], plugins: tuple[Path, ...], as_json: bool) -> int:
    """Run the conformance checks on the method NAME; exit code 1 if one fails."""
    from compact_bench import conformance, listing

    rows = conformance.rows(name, plugins, settings)
    click.echo(listing.as_json(rows) if as_json else conformance.text(name, rows))
    return 1 if conformance.failed(rows) else 0


@commands.command()
@click.argument("name")
@click.option("--to", type=FOLDER, help="Folder for the files [default: baselines/ of a checkout].")
@PLUGINS
def new(name: str, to: Path | None, plugins: tuple[Path, ...]) -> None:
    """Write a method NAME and its test, which pass as written; say what to edit."""
    from compact_bench import scaffold

    click.echo(scaffold.write(name, to, plugins))


@commands.command("report")
@READING
def report_(file: Path, profile: str | None, results: Path) -> None:
    """Make the tables and figures of FILE again, from its records alone."""
    from compact_bench import runner
    from compact_bench.tune import page

    root = _folder(file, profile, results)
    runner.show_report(root, say=click.echo)
    for made in page.rebuild(root):
        click.echo(f"report: {made.page}")


@commands.command()
@READING
def publish(file: Path, profile: str | None, results: Path) -> None:
    """Copy the results of FILE, without weights, to RESULTS/published/."""
    from compact_bench import publish as publishing

    folder = _folder(file, profile, results)
    target = _folder(file, profile, results / "published")
    publishing.publish(folder, target)
    click.echo(f"published: {target}")


@commands.command()
@READING
def reproduce(file: Path, profile: str | None, results: Path) -> int:
    """Compare the results of FILE with the published ones; exit code 1 if they differ."""
    from compact_bench import listing
    from compact_bench import publish as publishing

    published = _folder(file, profile, results / "published")
    rows = publishing.reproduce(_folder(file, profile, results), published)
    click.echo(listing.table_text(rows))
    return 0 if all(row.get("same", True) for row in rows) else 1


@commands.command()
@click.argument("results", type=FOLDER)
@click.argument("method_a")
@click.argument("method_b")
@JSON
def compare(results: Path, method_a: str, method_b: str, as_json: bool) -> None:
    """Say in words and numbers how METHOD_A differs from METHOD_B.

    RESULTS is a folder such as results/gsm8k/mini; rows are named by label, or by method where
    only one row has it.
    """
    from compact_bench import comparison, listing

    found = comparison.compare(results, method_a, method_b)
    if as_json:
        click.echo(listing.as_json(comparison.content(found)))
    else:
        click.echo(comparison.text(found, listing.table_text))


@commands.command()
@click.argument("results_a", type=FOLDER)
@click.argument("results_b", type=FOLDER)
@JSON
def agree(results_a: Path, results_b: Path, as_json: bool) -> None:
    """Say whether RESULTS_A ranks the rows as RESULTS_B does: Kendall's tau, its interval."""
    from compact_bench import agreement, listing

    found = agreement.agree(results_a, results_b)
    if as_json:
        click.echo(listing.as_json(agreement.content(found)))
    else:
        click.echo(f"{agreement.said(found)}\n\n{listing.table_text(agreement.lines(found))}")


def _chosen(
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
    from compact_bench.plan import Options
    from compact_bench.suite import load_suite, parse_seeds, suite_path

    more = {"seeds": parse_seeds(seeds) if seeds else None, "limit": limit}
    suite = load_suite(suite_path(file), profile, overrides, more)
    return suite, Options(results, mirror, plugins, only, jobs, retry)


def _folder(file: Path, profile: str | None, results: Path) -> Path:
    """Return where the output of a suite file lies below ``results``."""
    from compact_bench.plan import suite_folder
    from compact_bench.suite import load_suite, suite_path

    return suite_folder(load_suite(suite_path(file), profile), results)
