"""Tables, figures and the page of a search, from its trials and the records of its test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from compact_bench.report import page as report
from compact_bench.report.page import PAGE, ReportPaths
from compact_bench.report.parts import formats, style
from compact_bench.tune.report import captions, figures
from compact_bench.tune.report import tables as tune_tables
from compact_bench.tune.trials import FAILED, FILE, read
from compact_bench.tune.winners import read_test, tested_folder
from compact_bench.utils.files import remove, remove_leftovers, write_text


def build(
    folder: Path,
    table_formats: Sequence[str] = tuple(formats.WRITERS),
    figure_formats: Sequence[str] = ("svg",),
) -> ReportPaths:
    """Write tables/, figures/ and report.html beside trials.json in `folder`.

    Raises UserError where nothing was tuned there.
    """
    search = read(folder)
    test = read_test(folder, search.suite["suite"], search.suite["profile"])
    all_tables = tune_tables.build(search, test)
    pictures = figures.build(search)
    for part in ("tables", "figures"):
        remove(folder / part)
    remove_leftovers(folder, PAGE)
    table_paths = formats.write(all_tables, folder / "tables", table_formats)
    figure_paths = style.write(pictures, folder / "figures", figure_formats)
    states = Counter(trial.state for study in search.studies for trial in study.trials)
    text = report.render(
        suite=search.suite | {"title": f"{search.suite['title']}: settings searched by Optuna"},
        setting=captions.setting(search, search.studies),
        answer=None,
        tables=all_tables,
        pictures=pictures,
        failures=[
            (study.label, f"trial {trial.number}: {trial.reason or trial.state}")
            for study in search.studies
            for trial in study.trials
            if trial.state == FAILED
        ],
        samples=[],
        environments=[],
        states=sorted(states.items()),
        formats=figure_formats,
        table_formats=table_formats,
    )
    page = write_text(folder / PAGE, text)
    return ReportPaths(table_paths[0], tuple(table_paths), tuple(figure_paths), page)


def rebuild(root: Path, figure_formats: Sequence[str] = ("svg",)) -> list[ReportPaths]:
    """Make the pages of every search of the results in `root` again, and of its test."""
    pages = []
    for folder in sorted(path.parent for path in root.glob(f"tune*/{FILE}")):
        suite = read(folder).suite
        tested = tested_folder(folder, suite["suite"], suite["profile"])
        if (tested / "suite.json").exists():
            pages.append(report.build(tested, figure_formats))
        pages.append(build(folder, figure_formats=figure_formats))
    return pages
