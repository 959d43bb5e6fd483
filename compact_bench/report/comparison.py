"""Two rows of some results beside each other: one paragraph in words, and a table of every task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compact_bench.analysis import claims, statistics
from compact_bench.analysis.results import Results, Row, difference, read
from compact_bench.analysis.statistics import NAN, Difference
from compact_bench.errors import UserError, nearest
from compact_bench.report.parts.numbers import (
    NONE,
    heading,
    number,
    p_value,
    share,
    with_half_width,
)
from compact_bench.report.tables.descriptive import ROLES, aggregates, described
from compact_bench.suite.metrics import Measure


@dataclass(frozen=True)
class Line:
    """One measure of both rows; `holm` is p corrected for all lines that were tested."""

    measure: Measure
    first: float
    second: float
    found: Difference
    holm: float
    extras: dict[str, float]


@dataclass(frozen=True)
class RowComparison:
    """First row minus second row, by measure."""

    results: Results
    first: Row
    second: Row
    lines: tuple[Line, ...]

    @property
    def tested(self) -> int:
        """How many lines were tested, and so are corrected for."""
        return sum(bool(np.isfinite(line.holm)) for line in self.lines)


def find(results: Results, wanted: str) -> Row:
    """The row of this label, or of this name or method where only one row has it.

    Raises UserError, with the nearest known name, where there is none or more than one.
    """
    for names in ([r.label for r in results.rows], [r.name for r in results.rows],
                  [r.method for r in results.rows]):  # fmt: skip
        found = [row for row, name in zip(results.rows, names, strict=True) if name == wanted]
        if len(found) == 1:
            return found[0]
        if found:
            labels = ", ".join(row.label for row in found)
            raise UserError(f"{wanted!r} is {len(found)} rows: name one of {labels}")
    known = dict.fromkeys(name for r in results.rows for name in (r.label, r.name, r.method))
    rows = ", ".join(row.label for row in results.rows)
    raise UserError(f"no row {wanted!r}{nearest(wanted, known)}; there are {rows}")


def compare(folder: Path, first: str, second: str) -> RowComparison:
    """Compare two rows of results/<suite>/<profile> on every headline and the answer's NLL.

    Raises UserError where there are no results, no such row, or nothing that both have.
    """
    results = read(folder)
    one, other = find(results, first), find(results, second)
    if one is other:
        raise UserError(f"{first!r} and {second!r} are the same row: {one.label}")
    found = [
        (measure, got)
        for measure in results.main_measures
        if (got := difference(one, other, measure)) is not None
    ]
    if not found:
        raise UserError(f"{one.label} and {other.label} have no finished seed in common")
    adjusted = statistics.holm([got.p for _, got in found])
    lines = (
        Line(
            measure,
            one.summary(measure).mean,
            other.summary(measure).mean,
            got,
            float(holm),
            described(one, other, measure) if measure.shown.item_column else {},
        )
        for (measure, got), holm in zip(found, adjusted, strict=True)
    )
    return RowComparison(results, one, other, tuple(lines))


def verdict(found: RowComparison, line: Line) -> str:
    """Whether the difference may be claimed, and why."""
    if not np.isfinite(line.found.p):
        if line.found.seeds < 2:
            return "One seed supports no claim about which is better."
        return "Without values by item there is no test, and so no claim."
    corrected = f"corrected for the {found.tested} comparisons of the table p is {said_p(line)}"
    if line.holm < claims.LEVEL:
        return f"This is a claim: {corrected}."
    told = "the interval excludes 0, but " if line.found.clear else ""
    most = number(line.found.detectable, line.measure)
    unit = " points" if line.measure.shown.percent else ""
    return (
        f"This is no claim: {told}{corrected}; a true difference of {most}{unit} would have been "
        "found in 80% of cases."
    )


def said_p(line: Line) -> str:
    """The corrected p in a sentence."""
    return p_value(line.holm).replace("< ", "below ")


def paragraph(found: RowComparison) -> str:
    """One paragraph: who, how much, interval, p, seeds x items, and whether it is a claim."""
    line = found.lines[0]
    measure, got = line.measure, line.found
    percent = measure.shown.percent
    unit, sign = (" points", "%") if percent else ("", "")
    title = f"{measure.shown.title} on {measure.task_title}"
    more = "above" if got.mean > 0 else "below"
    by = f"{number(abs(got.mean), measure)}{unit} {more}" if got.mean else "level with"
    ends = [number(got.mean + side * got.half_width, measure, signed=True) for side in (-1, 1)]
    interval = ""
    if np.isfinite(got.half_width):
        p = p_value(got.p)
        interval = f", 95% interval {ends[0]} to {ends[1]}, p {p if p[0] == '<' else f'= {p}'}"
    seeds = f"{got.seeds} seed{'s' if got.seeds != 1 else ''}"
    items = f" x {got.items} items" if got.items else ""
    suite = found.results.suite
    return (
        f"{suite.get('suite')} {suite.get('profile')}: {found.first.label} is {by} "
        f"{found.second.label} in {title} ({number(line.first, measure)}{sign} against "
        f"{number(line.second, measure)}{sign}{interval}; {seeds}{items}). {verdict(found, line)}"
    )


def rows(found: RowComparison) -> list[dict[str, str]]:
    """The table as text, a line a measure."""
    table = []
    for line in found.lines:
        unit = line.measure

        def interval(name: str, extras: dict[str, float] = line.extras, m: Measure = unit) -> str:
            low, high = (extras.get(f"{name}_{end}", NAN) for end in ("low", "high"))
            ends = (number(bound, m, signed=True) for bound in (low, high))
            return " to ".join(ends) if np.isfinite(low) else NONE

        table.append(
            {
                "measure": heading(unit),
                found.first.label: number(line.first, unit),
                found.second.label: number(line.second, unit),
                "difference": with_half_width(line.found, unit)
                + ("*" if line.holm < claims.LEVEL else ""),
                "p": p_value(line.found.p),
                "p (Holm)": p_value(line.holm),
                "detectable": number(line.found.detectable, unit),
                "McNemar p": p_value(line.extras.get("mcnemar_p", NAN)),
                "bootstrap, items": interval("items"),
                "bootstrap, both": interval("both"),
            }
        )
    return table


def by_role(found: RowComparison) -> list[dict[str, Any]]:
    """Interquartile means and the probability of improvement, for each kind of task."""
    lines = []
    for role, name in ROLES.items():
        mine, better = aggregates(found.results, found.first, found.second, role)
        other, _ = aggregates(found.results, found.second, None, role)
        if np.isfinite(mine) or np.isfinite(other):
            values = {found.first.label: mine, found.second.label: other, "P(better)": better}
            lines.append({"tasks": name, **values})
    return lines


NOTES = (
    "±: half-width of the 95% interval by the crossed test, seeds and items random. *: survives "
    "Holm's correction for this table. Detectable: the true difference that such a test finds in "
    "80% of cases. McNemar, bootstrap, IQM (mean of the middle half of the runs' accuracies) and "
    "P(better) (of a run of the first row) are descriptive: they are no test when seeds vary "
    "(docs/statistics.md)."
)


def text(found: RowComparison, table: Any) -> str:
    """Paragraph and tables; `table` turns rows into aligned text."""
    percent = [
        {key: share(value) if isinstance(value, float) else value for key, value in line.items()}
        for line in by_role(found)
    ]
    titled = [
        {"tasks": line.pop("tasks"), **{_aggregate(k): v for k, v in line.items()}}
        for line in percent
    ]
    parts: Sequence[str] = [paragraph(found), table(rows(found)), table(titled), NOTES]
    return "\n\n".join(part for part in parts if part)


def _aggregate(key: str) -> str:
    return f"{key}, %" if key == "P(better)" else f"IQM of {key}, %"


def content(found: RowComparison) -> dict[str, Any]:
    """What `--json` prints: all numbers unrounded."""

    def known(values: dict[str, Any]) -> dict[str, Any]:
        return {
            key: None if isinstance(value, float) and not np.isfinite(value) else value
            for key, value in values.items()
        }

    return {
        "first": found.first.label,
        "second": found.second.label,
        "paragraph": paragraph(found),
        "comparisons": found.tested,
        "measures": [
            known(
                {"task": line.measure.task, "metric": line.measure.metric}
                | {"first": line.first, "second": line.second}
                | vars(line.found)
                | {"p_holm": line.holm, "claim": bool(line.holm < claims.LEVEL)}
                | {"detectable": line.found.detectable}
                | line.extras
            )
            for line in found.lines
        ],
        "by_role": [known(line) for line in by_role(found)],
    }
