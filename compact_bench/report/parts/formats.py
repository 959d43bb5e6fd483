"""A table as Markdown, LaTeX and CSV; whatever a model or a plugin wrote is escaped."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from compact_bench.report.parts.captions import Caption
from compact_bench.report.parts.numbers import NONE
from compact_bench.utils.files import write_text

_LATEX = {letter: rf"\{letter}" for letter in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # at the start of a row, the \\ before it would take [..] for its argument
    "]": "{]}",
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "Δ": r"$\Delta$",
    "×": r"$\times$",
    "…": r"\dots{}",
}
_MARKDOWN = re.compile(r"([\\`*|<])")


@dataclass(frozen=True)
class Entry:
    """One entry of a table. link: where the page and Markdown lead from it."""

    text: str
    best: bool = False
    link: str = ""

    def marked(self, escape: Callable[[str], str], pattern: str) -> str:
        """The escaped text, in the pattern for bold where it is the best."""
        return pattern.format(escape(self.text)) if self.best and self.text else escape(self.text)


@dataclass(frozen=True)
class Table:
    """A table to read (columns, rows) and the same as numbers (for CSV)."""

    name: str
    title: str
    caption: Caption
    columns: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]
    numbers: pd.DataFrame
    notes: tuple[str, ...] = ()


def table(
    name: str,
    title: str,
    caption: Caption,
    columns: Mapping[str, Sequence[Entry | str]],
    numbers: pd.DataFrame,
    notes: tuple[str, ...] = (),
) -> Table:
    """A table from its columns by heading, all of one length."""
    entries = ([e if isinstance(e, Entry) else Entry(e) for e in c] for c in columns.values())
    rows = tuple(zip(*entries, strict=True))
    return Table(name, title, caption, tuple(columns), rows, numbers, notes)


def known(columns: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """The columns that have a value in any row."""
    return {title: texts for title, texts in columns.items() if {*texts} - {NONE}}


def escape_markdown(text: str) -> str:
    """Make text stand for itself within one cell of a Markdown table."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def escape_latex(text: str) -> str:
    """Make text stand for itself in LaTeX.

    >>> escape_latex("50% of a_b")
    '50\\\\% of a\\\\_b'
    """
    return "".join(_LATEX.get(letter, letter) for letter in " ".join(text.split()))


def markdown(table: Table) -> str:
    """The table as Markdown, its columns padded so that a terminal shows them aligned."""
    head = [escape_markdown(column) for column in table.columns]
    body = [[_linked(e, e.marked(escape_markdown, "**{}**")) for e in row] for row in table.rows]
    widths = [max(3, *(len(line[i]) for line in [head, *body])) for i in range(len(head))]

    def line(cells: list[str]) -> str:
        padded = [text.rjust(width) for text, width in zip(cells, widths, strict=True)]
        return "| " + " | ".join([cells[0].ljust(widths[0]), *padded[1:]]) + " |"

    rule = "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])])
    notes = "\n".join(f"- {escape_markdown(note)}" for note in table.notes)
    lines = "\n".join([line(head), f"|{rule}|", *map(line, body)])
    parts = [f"**{escape_markdown(table.title)}**", lines, *filter(None, [notes])]
    return "\n\n".join([*parts, escape_markdown(str(table.caption))]) + "\n"


def _linked(entry: Entry, text: str) -> str:
    return f"[{text}]({entry.link})" if entry.link else text


def latex(table: Table) -> str:
    """The table as a LaTeX float with booktabs rules, scaled down where it is too wide."""

    def line(cells: list[str]) -> str:
        return "  " + " & ".join(cells) + r" \\"

    body = [[e.marked(escape_latex, r"\textbf{{{}}}") for e in row] for row in table.rows]
    notes = "".join(rf" \emph{{{escape_latex(note)}}}." for note in table.notes)
    return "\n".join(
        [
            r"% needs \usepackage{booktabs,graphicx}",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape_latex(str(table.caption))}{notes}}}",
            rf"\label{{tab:{re.sub('[^a-z0-9]+', '-', table.name.lower())}}}",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
            r"\toprule",
            line([escape_latex(column) for column in table.columns]),
            r"\midrule",
            *map(line, body),
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
            "",
        ]
    )


def csv(table: Table) -> str:
    """The table's numbers, unrounded, one row a line; an empty field is a missing value.

    Text that a spreadsheet would take for a formula begins with an apostrophe.
    """
    numbers = table.numbers.copy()
    for name in numbers.columns:
        if not pd.api.types.is_numeric_dtype(numbers[name]):
            # As objects: pandas would turn whole numbers beside a gap into fractions.
            texts = [_no_formula(value) for value in numbers[name]]
            numbers[name] = pd.Series(texts, index=numbers.index, dtype=object)
    return str(numbers.rename(columns=_no_formula).to_csv(index=False, lineterminator="\n"))


def _no_formula(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = value.replace("\r", " ")  # pandas doesn't quote it, and readers end a row there
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t")) else text


WRITERS: Mapping[str, Callable[[Table], str]] = {"md": markdown, "csv": csv, "tex": latex}


def write(
    tables: Iterable[Table], folder: Path, formats: Iterable[str] = tuple(WRITERS)
) -> list[Path]:
    """Write each table in these formats, of Markdown, CSV and LaTeX."""
    return [
        write_text(Path(folder) / f"{table.name}.{ending}", WRITERS[ending](table))
        for table in tables
        for ending in formats
    ]
