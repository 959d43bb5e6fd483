"""The answer in a terminal: the columns of the main table that say it, fitted to the width."""

from __future__ import annotations

import io
import shutil
import textwrap
from collections.abc import Collection, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from compact_bench.analysis.results import Results, Row
from compact_bench.report.parts import captions
from compact_bench.report.parts.formats import known
from compact_bench.report.parts.numbers import compact, heading, with_spread
from compact_bench.report.tables.main import KEPT, marked_differences, old_skill_kept

GAP = 2  # characters between columns
NARROWEST_LABEL = 12  # characters of a wrapped label
NEVER = 0.995  # share of answers that state none

Columns = dict[str, list[str]]


def summary(results: Results, only: Collection[str] = (), width: int | None = None) -> str:
    """Return reasoning accuracy, its difference, retention and tokens as plain text.

    only: labels or methods of the rows that are wanted, none for all. width: characters a line;
    None for the terminal's, which is COLUMNS or 80 where there is no terminal. Long labels are
    wrapped and the last columns left out, but no number is ever cut.
    """
    width = width or shutil.get_terminal_size().columns
    rows = [row for row in results.rows if not only or {row.name, row.method} & {*only}]
    columns, legend = _columns(results, rows)
    title = textwrap.fill(str(results.suite.get("title") or ""), width)
    labels: dict[str, list[str]] = {}
    for row in rows:
        for problem in row.problems():
            labels.setdefault(problem, []).append(row.label)
    notes = [
        legend,
        *_silent(results, rows),
        *(f"{', '.join(names)}: {problem}" for problem, names in labels.items()),
    ]
    below = [textwrap.fill(note, width, subsequent_indent="  ") for note in notes]
    return "\n".join([*filter(None, [title]), _fitted(columns, rows, width), *below])


def filled(text: str) -> str:
    """A text over lines as long as the terminal's."""
    return textwrap.fill(text, shutil.get_terminal_size().columns)


def _silent(results: Results, rows: Sequence[Row]) -> list[str]:
    """A warning where no row of the table ever states an answer: its accuracy compares nothing."""
    tasks = []
    for measure in results.measures:
        values = [value for row in rows for value in row.values.get(measure, {}).values()]
        if measure.metric == "no_answer" and measure.filter != "flexible" and values:
            if min(values) >= NEVER:
                tasks.append(measure.task_title)
    if not tasks:
        return []
    return [
        f'no row states an answer on {", ".join(tasks)}: the texts hold no "The answer is ...". '
        "Accuracy there says nothing about methods. The page's samples show what was asked and "
        "written; a student that is used to chats may need student.chat=true, a small one more or "
        "simpler training data, a long-winded one a larger evaluation.max_new_tokens"
    ]


def _columns(results: Results, rows: Sequence[Row]) -> tuple[Columns, str]:
    """The columns beside the label, most important first, and how to read them.

    A difference or a retention that no row has is left out.
    """
    columns: Columns = {}
    legend = ["± sd over seeds"] if len(results.seeds) > 1 else []
    if headline := next(iter(results.headlines("reasoning")), None):
        columns[heading(headline)] = [with_spread(row.summary(headline), headline) for row in rows]
        title = f"Δ to {captions.reference(results)}"
        columns |= known({title: marked_differences(results, rows, headline)})
        if title in columns:
            legend.append("Δ ± half-width of the 95% interval, * significant (Holm)")
    if results.headlines("forgetting"):
        columns |= known({KEPT: [old_skill_kept(results, row) for row in rows]})
    columns["tokens"] = [compact(row.cost("tokens").mean) for row in rows]
    return columns, "; ".join([*legend, "tokens: trained on, a cell's mean"])


def _fitted(columns: Columns, rows: Sequence[Row], width: int) -> str:
    """The table with columns as wide as their numbers; the labels have what is left."""
    labels = [row.label for row in rows]
    heads = {title: title.replace(" ↑", "\N{NO-BREAK SPACE}↑") for title in columns}
    widths = {
        title: max(map(len, [*heads[title].split(" "), *values])) + GAP
        for title, values in columns.items()
    }
    longest = max(map(len, ["method", *labels]))
    # A last column is left out where not even short labels would fit beside it.
    while len(widths) > 1 and width - sum(widths.values()) < min(longest, NARROWEST_LABEL):
        widths.popitem()
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0, pad_edge=False)
    left = max(1, width - sum(widths.values()))
    table.add_column("method", width=min(longest, left), overflow="fold")
    for title, size in widths.items():
        # Rich draws one character between columns.
        head = textwrap.fill(heads[title], size - GAP)
        table.add_column(head, width=size - 1, justify="right", vertical="bottom")
    for index, label in enumerate(labels):
        table.add_row(label, *(columns[title][index] for title in widths))
    text = io.StringIO()
    console = Console(file=text, width=width, color_system=None, markup=False, emoji=False)
    console.print(table, highlight=False)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())
