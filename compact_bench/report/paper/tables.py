"""Tables that fit a page: at most seven columns, short captions, notes apart, booktabs rules."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from compact_bench.analysis.results import Results
from compact_bench.report.page import build_tables
from compact_bench.report.parts import captions
from compact_bench.report.parts.formats import Entry, Table, escape_latex
from compact_bench.report.verdict import Drawn, verdict

MOST_COLUMNS = 7
WIDEST = 68  # characters of 4.6 pt, a digit at \small, in article's 345 pt less the gaps of columns
WIDEST_HEADING = 12  # characters of a line
LONGEST_NAME = 24  # characters; longer names of rows are cut before their brackets
A_PAGE = 36  # rows; longer tables break over pages
CAPTION_WORDS = 40
GAPS = r"\setlength{\tabcolsep}{3.5pt}\setlength{\belowcaptionskip}{4pt}"
# Of the report's tables, those that a paper's appendix has.
APPENDIX = ("ladder", "ablation", "headroom", "forgetting", "selection", "twins", "cost")


@dataclass(frozen=True)
class PaperTable:
    """A table as a paper prints it; notes: what its caption has no room for."""

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]
    notes: str = ""


def main_table(results: Results) -> PaperTable | None:
    """The table of the first screen: reasoning, differences, old skill kept, cost."""
    found = verdict(results)
    if found is None:
        return None
    rows = tuple(
        tuple(Entry(cell.text if isinstance(cell, Drawn) else cell) for cell in row)
        for row in found.table.rows
    )
    measure = results.headlines("reasoning")[0]
    kept = "Old skill kept: (after − chance) / (before − chance), mean over the forgetting tasks."
    notes = [
        "Mean ± standard deviation over seeds." if len(results.seeds) > 1 else "",
        captions.differences(results, measure),
        kept if results.headlines("forgetting") else "",
        captions.seeds(results),
    ]
    title = captions.sentence(str(results.suite.get("title") or results.suite.get("suite")))
    title += f" Under {found.condition}." if found.condition else ""
    text = " ".join(filter(None, notes))
    return fitted(PaperTable("main", title, found.table.columns, rows, text))


def appendix_tables(results: Results) -> list[PaperTable]:
    """What the appendix holds of the report's tables, in APPENDIX's order."""
    made = {table.name: table for table in build_tables(results)}
    return [_of_report(made[name]) for name in APPENDIX if name in made]


def _of_report(table: Table) -> PaperTable:
    notes = " ".join([table.caption.own, *(f"{note}." for note in table.notes)])
    return fitted(PaperTable(table.name, f"{table.title}.", table.columns, table.rows, notes))


def fitted(table: PaperTable) -> PaperTable:
    """The table with as many of its first columns as fit the page; the notes say what is left."""
    columns = zip(*table.rows, strict=True)
    widths = [
        max(_width(heading_lines(title)), *(_width(entry_lines(entry.text)) for entry in column))
        for title, column in zip(table.columns, columns, strict=True)
    ]
    kept = [i for i in range(len(widths)) if i < MOST_COLUMNS and sum(widths[: i + 1]) <= WIDEST]
    kept = kept or [0]
    left = table.columns[len(kept) :]
    more = f" Not printed: {', '.join(left)}; see {table.name}.csv of the report." if left else ""
    rows = tuple(tuple(row[i] for i in kept) for row in table.rows)
    title = " ".join(table.caption.split()[:CAPTION_WORDS])
    return PaperTable(table.name, title, table.columns[: len(kept)], rows, table.notes + more)


def heading_lines(title: str) -> list[str]:
    """A heading on several short lines.

    >>> heading_lines("in another form, %")
    ['in another', 'form, %']
    """
    return textwrap.wrap(title, WIDEST_HEADING, break_long_words=False) or [""]


def entry_lines(text: str) -> list[str]:
    """An entry on one line; a long name of a row on two, its settings below it.

    >>> entry_lines("knowledge_purification[plackett_luce]")
    ['knowledge_purification', '[plackett_luce]']
    """
    at = text.find("[")
    return [text[:at], text[at:]] if len(text) > LONGEST_NAME and at > 0 else [text]


def _width(lines: Sequence[str]) -> int:
    return max(map(len, lines))


def table_tex(table: PaperTable) -> str:
    r"""The table as LaTeX at \small; of more rows than a page has, a longtable."""
    head = " & ".join(_stacked(heading_lines(title), "c") for title in table.columns) + r" \\"
    body = [" & ".join(map(_entry, row)) + r" \\" for row in table.rows]
    shape = "l" + "r" * (len(table.columns) - 1)
    caption = rf"\caption{{{escape_latex(table.caption)}}}\label{{tab:{table.name}}}"
    notes = rf"{{\footnotesize {escape_latex(table.notes)}\par}}" if table.notes else ""
    if len(table.rows) > A_PAGE:
        return _long(shape, caption, head, body, notes)
    return "\n".join(
        [
            r"\begin{table}[htbp]",
            rf"\centering\small{GAPS}",
            caption,
            rf"\begin{{tabular}}{{{shape}}}",
            *_ruled(head, body),
            r"\end{tabular}",
            *([r"\par\medskip", rf"\parbox{{\linewidth}}{notes}"] if notes else []),
            r"\end{table}",
            "",
        ]
    )


def _stacked(lines: Sequence[str], side: str) -> str:
    """Lines above each other; side: "l" or "c", as LaTeX's shortstack has it."""
    escaped = r"\\".join(escape_latex(line) for line in lines)
    return escaped if len(lines) == 1 else rf"\shortstack[{side}]{{{escaped}}}"


def _entry(entry: Entry) -> str:
    return entry.marked(lambda text: _stacked(entry_lines(text), "l"), r"\textbf{{{}}}")


def _ruled(head: str, body: Sequence[str]) -> Iterable[str]:
    return [r"\toprule", head, r"\midrule", *body, r"\bottomrule"]


def _long(shape: str, caption: str, head: str, body: Sequence[str], notes: str) -> str:
    return "\n".join(
        [
            rf"{{\small{GAPS}",
            rf"\begin{{longtable}}{{{shape}}}",
            rf"{caption}\\",
            *(r"\toprule", head, r"\midrule", r"\endfirsthead"),
            *(r"\toprule", head, r"\midrule", r"\endhead", r"\bottomrule", r"\endfoot"),
            *body,
            r"\end{longtable}}",
            rf"\noindent{notes}",
            "",
        ]
    )
