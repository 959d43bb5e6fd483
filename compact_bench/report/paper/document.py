"""`paper`: a folder of LaTeX that compiles as it is and whose parts go into a paper."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from compact_bench.analysis import claims
from compact_bench.analysis.results import Results, read
from compact_bench.errors import UserError
from compact_bench.records.cells import without_paths
from compact_bench.report.contents import FIGURES
from compact_bench.report.page import FRONT
from compact_bench.report.paper import tables
from compact_bench.report.paper.numbers import numbers_tex
from compact_bench.report.parts import captions
from compact_bench.report.parts.formats import escape_latex
from compact_bench.report.parts.style import Picture
from compact_bench.report.verdict import verdict
from compact_bench.utils import processes
from compact_bench.utils.files import write_bytes, write_text

DOCUMENT = "paper.tex"
TEMPLATE = "paper.tex.j2"
UNBROKEN = 6  # characters of an address without a place to break the line


@dataclass(frozen=True)
class Source:
    """Where a row's method is from: in words, and as BibTeX, "" where it has none."""

    reference: str
    bibtex: str = ""

    @property
    def key(self) -> str:
        r"""What \cite takes; "" without BibTeX."""
        found = re.match(r"\s*@\w+\{\s*([^,\s]+)", self.bibtex)
        return found[1] if found else ""


def write_paper(root: Path, out: Path, sources: Mapping[str, Source]) -> list[Path]:
    """Write the paper's parts of the records in `root` into `out`; the document comes first.

    sources: where each method is from, by its name; others are named without a reference.
    Raises UserError where no row can be reported.
    """
    results = read(root)
    with processes.one_thread():
        main = tables.main_table(results)
        if main is None:
            raise UserError(f"{root}: no row has a reasoning measure yet, so there is no paper")
        others = tables.appendix_tables(results)
        pictures = [made for make in FIGURES.values() if (made := make(results))]
        paths = [
            write_text(out / "tables" / f"{table.name}.tex", tables.table_tex(table))
            for table in (main, *others)
        ]
        for picture in pictures:
            file = out / "figures" / f"{picture.name}.pdf"
            paths.append(write_bytes(file, picture.content["pdf"]))
    used = {row.method: sources[row.method] for row in results.rows if row.method in sources}
    entries = dict.fromkeys(one.bibtex.strip() for one in used.values() if one.key)
    paths += [
        write_text(out / "numbers.tex", numbers_tex(results)),
        write_text(out / "refs.bib", "\n\n".join(entries) + "\n"),
    ]
    return [write_text(out / DOCUMENT, _document(results, pictures, others, used)), *paths]


def _document(
    results: Results,
    pictures: list[Picture],
    others: list[tables.PaperTable],
    used: Mapping[str, Source],
) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        # Braces and percent signs are LaTeX's own.
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: value if isinstance(value, Markup) else escape_latex(str(value)),
    )
    environment.filters["verbatim"] = Markup  # names of files and labels, keys
    environment.filters["breakable"] = _breakable
    found = verdict(results)
    by_name = {picture.name: picture for picture in pictures}
    front = next((by_name[name] for name in FRONT if name in by_name), None)
    return environment.get_template(TEMPLATE).render(
        title=str(results.suite.get("title") or results.suite.get("suite")),
        verdict=list(found.sentences) if found else [],
        front=front,
        figures=[picture for picture in pictures if picture is not front],
        tables=[table.name for table in others],
        setting=captions.setting(results),
        settings=_settings(results.suite),
        methods=_methods(results, used),
        checklist=_checklist(results),
        chat=bool(results.suite.get("student", {}).get("chat")),
        cited=any(source.key for source in used.values()),
    )


def _breakable(text: str) -> Markup:
    """A text of which a line may break within long words: addresses have no spaces."""

    def broken(word: str) -> str:
        parts = (word[at : at + UNBROKEN] for at in range(0, len(word), UNBROKEN))
        return r"\allowbreak{}".join(map(escape_latex, parts))

    return Markup(" ".join(map(broken, text.split())))


def _methods(results: Results, used: Mapping[str, Source]) -> list[tuple[str, str, str]]:
    """Each row by name, where its method is from, and the key to cite it by."""
    none = Source("")
    rows = {row.name: used.get(row.method, none) for row in results.rows}
    return [(name, source.reference, source.key) for name, source in rows.items()]


def _settings(suite: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Every setting of student, data, training, evaluation and choice of rates that has a value."""
    parts = ("student", "data", "training", "selection", "evaluation")
    flat = {f"{part}.{key}": v for part in parts for key, v in (suite.get(part) or {}).items()}
    flat.pop("evaluation.tasks", None)  # the setting's sentences name them
    return [(key, _words(v)) for key, v in flat.items() if v not in (None, "", [], {})]


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_words(one)}" for key, one in value.items() if one is not None)
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    return f"{value:g}" if isinstance(value, float) else str(without_paths(str(value)))


def _checklist(results: Results) -> list[tuple[str, str]]:
    """What a reproducibility checklist asks, answered from the records."""
    cells = [cell for row in results.rows for cell in row.done.values()]
    planned = sum(len(row.cells) for row in results.rows)
    commits = {str(cell.env.get("git_commit") or "not recorded")[:12] for cell in cells}
    versions = {k: v for cell in cells for k, v in cell.env.get("versions", {}).items()}
    machines = {(c.env.get("system"), c.env.get("machine"), c.env.get("device")) for c in cells}
    flops = sum(float(cell.status.get("flops") or 0) for cell in cells)
    hours = sum(float(cell.status.get("seconds") or 0) for cell in cells) / 3600
    gold = [row.name for row in results.rows if row.uses_gold]
    family = claims.family(results).size
    return [
        ("Are all planned runs reported?", f"{len(cells)} of {planned} are done; others are rows"),
        ("How many seeds?", f"{len(results.seeds)}: {', '.join(map(str, results.seeds))}"),
        ("How were settings chosen?", captions.training(results.suite)),
        ("Which test?", f"crossed (seeds x items), Holm over {family} comparisons at 5%"),
        ("Which rows see the gold answer?", ", ".join(gold) or "none"),
        ("How much compute?", f"{flops:.3g} FLOPs of training, {hours:.2g} hours of cells"),
        ("On which machines?", "; ".join(" ".join(map(str, m)) for m in sorted(machines, key=str))),
        ("Which code?", f"commit {', '.join(sorted(commits))}"),
        ("Which versions?", ", ".join(f"{name} {versions[name]}" for name in sorted(versions))),
        ("Which data?", f"{results.suite.get('data', {}).get('source')}; hashes in every record"),
    ]
