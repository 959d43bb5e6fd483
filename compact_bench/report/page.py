"""Tables, figures and one HTML page, made from records alone: the same records, the same bytes."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from compact_bench.analysis import claims
from compact_bench.analysis.forgetting import diagnostics_recorded, forgetting
from compact_bench.analysis.hidden_states import state_stats
from compact_bench.analysis.results import Results, count_states, read
from compact_bench.analysis.weights import rationale_stats
from compact_bench.records.cells import Cell
from compact_bench.records.suite_record import read_items
from compact_bench.report import contents, terminal
from compact_bench.report.parts import captions
from compact_bench.report.parts.formats import WRITERS, Table
from compact_bench.report.parts.formats import write as write_tables
from compact_bench.report.parts.style import METADATA, Picture
from compact_bench.report.parts.style import write as write_pictures
from compact_bench.report.samples import browser as sample_browser
from compact_bench.report.tables.main import main_numbers
from compact_bench.report.verdict import verdict
from compact_bench.utils import processes
from compact_bench.utils.files import remove, remove_leftovers, write_text
from compact_bench.utils.processes import mapped

PAGE = "report.html"

MOST_SAMPLES = 3  # right ones, and wrong ones, of a row, for readers without a script
CAPTION = 30  # words of a caption that are seen before "How to read" is opened
FRONT = ("map", "tradeoff", "curves", "differences")  # the first of them is on the first screen


def sample_groups(
    results: Results, questions: Mapping[tuple[str, str], str]
) -> list[dict[str, Any]]:
    """For each row, of its first seed: the first right and wrong outputs of the first task."""
    task = next((measure.task for measure in results.headlines("reasoning")), None)
    first = [(row.label, *next(iter(row.done.items()))) for row in results.rows if row.done]
    groups = [
        {
            "label": label,
            "seed": seed,
            "asked": (cell.status.get("asked") or {}).get(task),
            "samples": _samples(cell, task, questions),
        }
        for label, seed, cell in first
    ]
    return [group for group in groups if group["samples"]]


def _samples(
    cell: Cell, task: str | None, questions: Mapping[tuple[str, str], str]
) -> list[dict[str, Any]]:
    samples = sample_browser.final(
        s for s in cell.samples() if task is None or s.get("task") == task
    )
    samples = sorted(samples, key=lambda sample: str(sample.get("question_id")))
    right = [sample for sample in samples if sample.get("right")][:MOST_SAMPLES]
    wrong = [sample for sample in samples if not sample.get("right")][:MOST_SAMPLES]
    shown = []
    for sample in [*right, *wrong]:
        key = str(sample.get("task")), str(sample.get("question_id"))
        values = {name: sample.get(name) for name in ("question_id", "extracted", "answer")}
        output = sample_browser.shortened(str(sample.get("output", "")))
        values |= {"right": bool(sample.get("right")), "output": output}
        shown.append(values | {"question": questions.get(key)})
    return shown


@dataclass(frozen=True)
class ReportPaths:
    """What was written; `summary` is the main table as Markdown."""

    summary: Path
    tables: tuple[Path, ...]
    figures: tuple[Path, ...]
    page: Path


def build(
    folder: Path,
    formats: Sequence[str] = ("svg",),
    results: Results | None = None,
    table_formats: Sequence[str] = tuple(WRITERS),
) -> ReportPaths:
    """Write tables/ and figures/ in these formats and report.html beside the records in `folder`.

    Cells may be missing, failed or skipped: they are rows that say so.  Raises UserError where
    there are no records or where the folder can't be written. results: what the folder holds,
    where it is read already.
    """
    folder = Path(folder)
    results = results or read(folder)
    for part, name in ((folder, PAGE), (folder / "tables", "*"), (folder / "figures", "*")):
        remove_leftovers(part, name)
    with processes.one_thread():
        _compute_ahead(results)
        made_tables, pictures = build_tables(results), build_figures(results)
    table_paths = write_tables(made_tables, folder / "tables", table_formats)
    figure_paths = write_pictures(pictures, folder / "figures", formats)
    for path in _stale(folder, [*table_paths, *figure_paths]):
        remove(path)
    text = html(results, folder, made_tables, pictures, formats, table_formats)
    page = write_text(folder / PAGE, text)
    return ReportPaths(table_paths[0], tuple(table_paths), tuple(figure_paths), page)


def show(
    folder: Path,
    say: Callable[[str], None] = print,
    only: Collection[str] = (),
    formats: Sequence[str] = ("svg",),
) -> None:
    """Make the report of the records in `folder`; print its answer and where the page is.

    only: labels or methods of the rows that are printed, none for all; the report has them all.
    """
    results = read(folder)
    paths = build(folder, formats, results)
    say(terminal.summary(results, only))
    if not only and (found := verdict(results)):
        say(terminal.filled(" ".join(found.sentences)))
    say(f"report: {paths.page}")


def answer(folder: Path) -> dict[str, Any]:
    """What `--json` prints: the verdict, the main table unrounded and where the page is.

    A number that is not known is None; `page` is None before a report was made.
    """
    results, page = read(folder), folder / PAGE
    found, numbers = verdict(results), main_numbers(results)
    return {
        "suite": results.suite.get("suite"),
        "profile": results.suite.get("profile"),
        "cells": count_states(results),
        "verdict": list(found.sentences) if found else [],
        "rows": numbers.astype(object).where(numbers.notna(), None).to_dict("records"),
        "page": str(page) if page.exists() else None,
    }


def build_tables(results: Results) -> list[Table]:
    """All tables that these results allow, the main one first."""
    made = mapped(lambda make: make(results), [*contents.TABLES.values()])
    return [table for table in made if table]


def build_figures(results: Results) -> list[Picture]:
    """The figures that these results allow, drawn as SVG; other formats when they are written."""

    def drawn(make: Callable[[Results], Picture | None]) -> Picture | None:
        picture = make(results)
        if picture is not None:
            _ = picture.content["svg"]  # here, since it takes longest and is shared out
        return picture

    return [picture for picture in mapped(drawn, [*contents.FIGURES.values()]) if picture]


def _compute_ahead(results: Results) -> None:
    """What several tables and figures read, the rows shared out: tables and figures are made in
    processes of their own, and what one of them computes the others don't see."""
    many = [row for row in results.rows if len(row.cells) > 1]
    for row, items in zip(many, mapped(lambda row: row.items, many), strict=True):
        vars(row)["items"] = items  # where cached_property keeps it
    claims.family(results)
    rationale_stats(results)
    if diagnostics_recorded(results):
        forgetting(results)
    state_stats(results)


def _stale(folder: Path, written: Iterable[Path]) -> list[Path]:
    """Tables and figures of an earlier report that this one has no data for."""
    endings = {f".{ending}" for ending in [*WRITERS, *METADATA]}  # with captions.md
    names = {*contents.TABLES, *contents.FIGURES, "captions"}
    found = {path for part in ("tables", "figures") for path in (folder / part).glob("*")}
    return [p for p in found - {*written} if p.suffix in endings and p.stem in names]


def html(
    results: Results,
    folder: Path,
    made_tables: Iterable[Table],
    pictures: Sequence[Picture],
    formats: Sequence[str],
    table_formats: Sequence[str] = tuple(WRITERS),
) -> str:
    """The page as one self-contained file; every text from records is escaped."""
    questions = read_items(folder)
    return render(
        suite=results.suite,
        setting=captions.setting(results),
        answer=verdict(results),
        tables=[*made_tables],
        pictures=pictures,
        failures=[(row.label, why) for row in results.rows for why in row.problems()],
        samples=sample_groups(results, questions),
        browser=sample_browser.packed(results, folder, questions),
        environments=_environments(results),
        states=sorted(count_states(results).items()),
        formats=formats,
        table_formats=table_formats,
    )


@dataclass(frozen=True)
class PagePart:
    """A table, or a figure with its address; caption: its first words, and all the others."""

    name: str
    title: str
    caption: tuple[str, str]
    table: Table | None = None
    uri: str = ""


def render(
    *,
    tables: Sequence[Table],
    pictures: Sequence[Picture],
    formats: Sequence[str] = ("svg",),
    table_formats: Sequence[str] = tuple(WRITERS),
    browser: str = "",
    **content: Any,
) -> str:
    """The page of tables and figures, with links to their files of these formats.

    `content` is what else page.html.j2 names.
    """
    parts = [
        # An image of its own: two SVGs inlined as they are would share their ids.  As text, which
        # is a fifth shorter than in base 64.
        PagePart(one.name, one.title, first_words(one.caption.own), uri=_address(one))
        for one in pictures
    ]
    parts += [PagePart(one.name, one.title, first_words(one.caption.own), one) for one in tables]
    front = next((part for name in FRONT for part in parts if part.uri and part.name == name), None)
    sections = contents.in_sections([part for part in parts if part is not front])
    return fill(
        "page.html.j2",
        sections=sections,
        front=front,
        front_section=contents.section(front.name) if front else "",
        endings=list(table_formats),
        picture_endings=list(formats),
        browser=browser,
        **content,
    )


def fill(template: str, **content: Any) -> str:
    """A page of this template, with the style and the script that all pages share."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    script = Path(__file__).with_name("page.js").read_text("utf-8")
    # The policy names the script's hash and not a nonce: in a file the nonce could be read, and
    # so be put into a forged page's own script.
    checksum = base64.b64encode(sha256(script.encode()).digest()).decode()
    page = environment.get_template(template)
    return page.render(script=Markup(script), checksum=checksum, **content)


def _address(picture: Picture) -> str:
    svg = quote(picture.content["svg"], safe=" !$&'()*+,-./:;=?@[]_~<>{|}")
    return f"data:image/svg+xml,{svg}"


def first_words(text: str) -> tuple[str, str]:
    """A caption's first sentences, at most CAPTION words of them, and the rest."""
    sentences = re.split(r"(?<=[.!?]) (?=\S)", text)
    words = accumulate(len(sentence.split()) for sentence in sentences)
    kept = sum(count <= CAPTION for count in words)
    return " ".join(sentences[:kept]), " ".join(sentences[kept:])


def _environments(results: Results) -> list[dict[str, Any]]:
    """The distinct machines and versions that cells ran on, with the number of cells."""

    def facts_of(cell: Cell) -> tuple[tuple[str, str], ...]:
        flat = {k: v for k, v in cell.env.items() if not isinstance(v, (dict, list))}
        flat |= cell.env.get("versions", {})
        return tuple((k, str(v)) for k, v in flat.items() if v is not None)

    counts = Counter(facts_of(cell) for row in results.rows for cell in row.done.values())
    return [{"cells": n, "facts": facts} for facts, n in sorted(counts.items())]
