"""A table as Markdown, LaTeX and CSV; whatever a model or a plugin wrote is escaped."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from compact_bench.report.parts.captions import Caption

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
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
    """One entry of a table."""

    text: str
    best: bool = False


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
    columns: Mapping[str, Sequence[Entry]],
    numbers: pd.DataFrame,
    notes: tuple[str, ...] = (),
) -> Table:
    """A table from its columns by heading, all of one length."""
    rows = tuple(zip(*columns.values(), strict=True))
    return Table(name, title, caption, tuple(columns), rows, numbers, notes)


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
    body = [[_strong(escape_markdown(e.text), "**", e.best) for e in row] for row in table.rows]
    widths = [max(3, *(len(line[i]) for line in [head, *body])) for i in range(len(head))]

    def line(cells: list[str]) -> str:
        first, *rest = (
            text.ljust(width) if i == 0 else text.rjust(width)
            for i, (text, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "| " + " | ".join([first, *rest]) + " |"

    rule = "|" + "|".join(
        "-" * (width + 2) if i == 0 else "-" * (width + 1) + ":" for i, width in enumerate(widths)
    )
    notes = [f"- {escape_markdown(note)}" for note in table.notes]
    parts = [f"**{escape_markdown(table.title)}**", "\n".join([line(head), rule + "|"])]
    parts[1] += "".join("\n" + line(cells) for cells in body)
    parts += ["\n".join(notes)] if notes else []
    return "\n\n".join([*parts, escape_markdown(str(table.caption))]) + "\n"


def _strong(text: str, mark: str, strong: bool) -> str:
    return f"{mark}{text}{mark}" if strong and text else text


def latex(table: Table) -> str:
    """The table as a LaTeX float with booktabs rules, scaled down where it is too wide."""

    def line(cells: list[str]) -> str:
        return "  " + " & ".join(cells) + r" \\"

    body = []
    for row in table.rows:
        texts = [escape_latex(entry.text) for entry in row]
        marked = zip(texts, row, strict=True)
        body.append(line([rf"\textbf{{{t}}}" if e.best and t else t for t, e in marked]))
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
            *body,
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
            "",
        ]
    )


def csv(table: Table) -> str:
    """The table's numbers, unrounded, one row a line; an empty field is a missing value."""
    return str(table.numbers.to_csv(index=False, lineterminator="\n"))
