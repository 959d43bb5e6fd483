"""`report`, `paper`, `compare` and `agree`: what is made of records alone."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from compact_bench.commands.options import FOLDER, JSON, PLUGINS, READING, results_folder
from compact_bench.utils import printing

FORMATS = ("svg", "pdf", "png")


def figure_formats(context: Any, parameter: Any, text: str) -> tuple[str, ...]:
    """The formats that a user names, separated by commas."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in FORMATS:
            allowed = ", ".join(FORMATS)
            raise click.BadParameter(f"{name!r} is no format of a figure; allowed: {allowed}")
    return names


@click.command()
@READING
@click.option(
    "--formats",
    default="svg",
    show_default=True,
    callback=figure_formats,
    metavar="svg,pdf,png",
    help="Formats of the figures.",
)
@click.option(
    "--index",
    is_flag=True,
    help="Make the index of all results in the folder FILE instead: index.html, index.md.",
)
@JSON
def report(
    file: Path,
    profile: str | None,
    results: Path,
    formats: tuple[str, ...],
    index: bool,
    as_json: bool,
) -> None:
    """Make the tables and figures of FILE again, from its records alone."""
    from compact_bench.report import leaderboard, page
    from compact_bench.tune.report import page as tune_page

    if index:
        made = leaderboard.build(file)
        click.echo(printing.as_json(leaderboard.content(file)) if as_json else f"index: {made[0]}")
        return
    root = results_folder(file, profile, results)
    say = partial(click.echo, err=as_json)
    page.show(root, say=say, formats=formats)
    for tuned in tune_page.rebuild(root, formats):
        say(f"report: {tuned.page}")
    if as_json:
        click.echo(printing.as_json(page.answer(root)))


@click.command()
@click.argument("results", type=FOLDER)
@click.option("--out", type=FOLDER, required=True, help="The folder that is written.")
@PLUGINS
def paper(results: Path, out: Path, plugins: tuple[Path, ...]) -> None:
    """Write what a paper needs of RESULTS as LaTeX: tables, figures, numbers, references.

    RESULTS is a folder such as results/gsm8k/mini. paper.tex of --out compiles as it is.
    """
    from compact_bench.methods import registry
    from compact_bench.report.paper.document import Source, write_paper

    methods = registry.load(plugins).methods
    sources = {name: Source(one.reference, one.bibtex) for name, one in methods.items()}
    click.echo(f"paper: {write_paper(results, out, sources)[0]}")


@click.command()
@click.argument("names", nargs=-1, metavar="RESULTS METHOD_A METHOD_B")
@click.option(
    "--samples",
    is_flag=True,
    help="Compare two runs of lm-eval instead: A.jsonl B.jsonl, as --log_samples writes them.",
)
@JSON
def compare(names: tuple[str, ...], samples: bool, as_json: bool) -> None:
    """Say in words and numbers how METHOD_A differs from METHOD_B.

    RESULTS is a folder such as results/gsm8k/mini; rows are named by label, or by method where
    only one row has it. With --samples, two files of lm-eval, or two folders of as many runs each.
    """
    wanted = ("A.jsonl", "B.jsonl") if samples else ("RESULTS", "METHOD_A", "METHOD_B")
    if len(names) != len(wanted):
        raise click.UsageError(f"compare takes {' '.join(wanted)}; {len(names)} were given")
    made: Any
    printed: Any
    if samples:
        from compact_bench.report.samples import comparison as printed

        made = printed.compare_samples(Path(names[0]), Path(names[1]))
    else:
        from compact_bench.report import comparison as printed

        made = printed.compare(Path(names[0]), names[1], names[2])
    click.echo(printing.as_json(printed.content(made)) if as_json else printed.text(made))


@click.command()
@click.argument("results_a", type=FOLDER)
@click.argument("results_b", type=FOLDER)
@JSON
def agree(results_a: Path, results_b: Path, as_json: bool) -> None:
    """Say whether RESULTS_A ranks the rows as RESULTS_B does: Kendall's tau, its interval."""
    from compact_bench.report import comparison

    agreed = comparison.agree(results_a, results_b)
    if as_json:
        click.echo(printing.as_json(comparison.ranking_content(agreed)))
    else:
        click.echo(comparison.ranking_text(agreed))
