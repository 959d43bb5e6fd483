"""Tables, figures and one HTML page, made from records alone: the same records, the same bytes."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from compact_bench import captions, claims, collect, drawing, figures, forked, tables
from compact_bench.atomic import remove, write_text
from compact_bench.bank_records import read_bank_teachers, read_clean, read_items
from compact_bench.figures import Picture
from compact_bench.forgetting import forgetting
from compact_bench.forked import mapped
from compact_bench.formats import Table
from compact_bench.latent_readings import latents
from compact_bench.outcomes import Results
from compact_bench.readings import read_bank, readings
from compact_bench.records import read_cells, read_plan
from compact_bench.report.samples import sample_groups
from compact_bench.retention_paths import evidence_recorded

PAGE = "report.html"


@dataclass(frozen=True)
class ReportPaths:
    """What was written; `summary` is the main table as Markdown."""

    summary: Path
    tables: tuple[Path, ...]
    figures: tuple[Path, ...]
    page: Path

    def moved(self, old: Path, new: Path) -> ReportPaths:
        """The same files after their folder was moved."""

        def there(path: Path) -> Path:
            return new / path.relative_to(old)

        tables_there, figures_there = map(there, self.tables), map(there, self.figures)
        return ReportPaths(
            there(self.summary), tuple(tables_there), tuple(figures_there), there(self.page)
        )


def read(folder: Path) -> Results:
    """Read results/<suite>/<profile>. Raises UserError where no suite was run there."""
    folder = Path(folder)
    plan = read_plan(folder)
    bank = read_bank(folder)
    teachers, clean = read_bank_teachers(folder), read_clean(folder)
    return collect.collect(read_cells(folder), plan, teachers, bank, clean)


def build(folder: Path) -> ReportPaths:
    """Write tables/, figures/ and report.html beside the records in `folder`.

    Cells may be missing, failed or skipped: they are rows that say so.  Raises UserError where
    there are no records or where the folder can't be written.
    """
    folder = Path(folder)
    results = read(folder)
    with forked.one_thread():
        _compute_ahead(results)
        made_tables, pictures = tables.build(results), figures.build(results)
    table_paths = tables.write(made_tables, folder / "tables")
    figure_paths = figures.write(pictures, folder / "figures")
    for path in _stale(folder, [*table_paths, *figure_paths]):
        remove(path)
    page = write_text(folder / PAGE, html(results, made_tables, pictures, read_items(folder)))
    return ReportPaths(table_paths[0], tuple(table_paths), tuple(figure_paths), page)


def _compute_ahead(results: Results) -> None:
    """What several tables and figures read, the rows shared out: tables and figures are made in
    processes of their own, and what one of them computes the others don't see."""
    many = [row for row in results.rows if len(row.cells) > 1]
    for row, items in zip(many, mapped(lambda row: row.items, many), strict=True):
        vars(row)["items"] = items  # where cached_property keeps it
    claims.family(results)
    readings(results)
    if evidence_recorded(results):
        forgetting(results)
    latents(results)


def _stale(folder: Path, written: Iterable[Path]) -> list[Path]:
    """Tables and figures of an earlier report that this one has no data for."""
    endings = {f".{ending}" for ending in [*tables.WRITERS, *drawing.METADATA]}  # with captions.md
    kept = set(written)
    names = {*tables.NAMES, *figures.NAMES, "captions"}
    found = [path for part in ("tables", "figures") for path in sorted((folder / part).glob("*"))]
    return [p for p in found if p not in kept and p.suffix in endings and p.stem in names]


def html(
    results: Results,
    made_tables: Iterable[Table],
    pictures: Iterable[Picture],
    questions: Mapping[tuple[str, str], str],
) -> str:
    """The page as one self-contained file; every text from records is escaped."""
    rows = [(row, row.problems()) for row in results.rows]
    main, *others = made_tables
    return render(
        suite=results.suite,
        setting=captions.setting(results),
        main=main,
        others=others,
        pictures=pictures,
        failures=[(row.label, why) for row, problems in rows for why in problems],
        samples=sample_groups(results, questions),
        environments=_environments(results),
        states=sorted(collect.states(results).items()),
    )


def render(*, pictures: Iterable[Picture], **content: Any) -> str:
    """The page of tables and figures; `content` is what page.html.j2 names."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("page.html.j2").render(
        pictures=[(picture, _data_uri(picture.content["svg"])) for picture in pictures],
        endings=list(tables.WRITERS),
        picture_endings=list(drawing.METADATA),
        **content,
    )


def _data_uri(svg: bytes) -> str:
    """An image of its own: two SVGs inlined as they are would share their ids."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode("ascii")


def _environments(results: Results) -> list[dict[str, Any]]:
    """The distinct machines and versions that cells ran on, with the number of cells."""
    counts: dict[tuple[tuple[str, str], ...], int] = {}
    for row in results.rows:
        for cell in row.done.values():
            flat = {k: v for k, v in cell.env.items() if not isinstance(v, (dict, list))}
            flat |= cell.env.get("versions", {})
            facts = tuple((name, str(value)) for name, value in flat.items() if value is not None)
            counts[facts] = counts.get(facts, 0) + 1
    return [{"cells": n, "facts": facts} for facts, n in sorted(counts.items())]
