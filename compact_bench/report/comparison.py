"""Results beside each other: two rows, two rankings, or a new run and the published one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats as distributions

from compact_bench.analysis import claims, statistics
from compact_bench.analysis.results import Results, Row, difference, read
from compact_bench.analysis.statistics import NAN, Difference
from compact_bench.errors import UserError, nearest
from compact_bench.records.cells import without_paths
from compact_bench.report.parts.numbers import (
    NONE,
    decimals,
    heading,
    number,
    p_value,
    share,
    with_spread,
)
from compact_bench.report.tables.changes import ladder_measures
from compact_bench.report.tables.descriptive import ROLES, aggregates, bootstrap_interval, described
from compact_bench.suite.metrics import Measure
from compact_bench.utils.printing import table_text

FEWEST = 5  # rows: Fieller's variance has n - 4 below the line

# What decides a cell's numbers: where these differ, the runs were asked for different things.
COMPARED = (
    "version", "config", "student", "student_hash", "data", "data_hash", "training", "evaluation",
    "limit", "threads", "engine_version",
)  # fmt: skip

SAME, SAME_TO = "same", "same to 1e-5"
_EXACT = 1e-9  # differences below this are rounding
_CLOSE = 1e-5  # below this those of another processor, which adds in another order


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

    def __str__(self) -> str:
        """What `compare` prints."""
        return text(self)


def find(results: Results, wanted: str) -> Row:
    """The row of this label, or of this name or method where only one row has it.

    Raises UserError, with the nearest known name, where there is none or more than one.
    """
    names = {row.label: (row.label, row.name, row.method) for row in results.rows}
    for kind in range(3):
        found = [row for row in results.rows if names[row.label][kind] == wanted]
        if len(found) == 1:
            return found[0]
        if found:
            labels = ", ".join(row.label for row in found)
            raise UserError(f"{wanted!r} is {len(found)} rows: name one of {labels}")
    known = dict.fromkeys(name for row_names in names.values() for name in row_names)
    raise UserError(f"no row {wanted!r}{nearest(wanted, known)}; there are {', '.join(names)}")


def compare(folder: Path, first: str, second: str) -> RowComparison:
    """Compare two rows of results/<suite>/<profile>, as `compare_rows` does.

    Raises UserError where there are no results, no such row, or nothing that both have.
    """
    return compare_rows(read(folder), first, second)


def compare_rows(results: Results, first: str, second: str) -> RowComparison:
    """Compare two rows on every headline and the answer's NLL.

    Raises UserError where there is no such row, or nothing that both have.
    """
    one, other = find(results, first), find(results, second)
    if one is other:
        raise UserError(f"{first!r} and {second!r} are the same row: {one.label}")
    found = {m: got for m in results.main_measures if (got := _difference(results, one, other, m))}
    if not found:
        raise UserError(f"{one.label} and {other.label} have no finished seed in common")
    adjusted = statistics.holm([got.p for got in found.values()])
    lines = (
        Line(
            measure,
            one.summary(measure).mean,
            other.summary(measure).mean,
            got,
            float(holm),
            described(one, other, measure) if measure.shown.item_column else {},
        )
        for (measure, got), holm in zip(found.items(), adjusted, strict=True)
    )
    return RowComparison(results, one, other, tuple(lines))


def _difference(results: Results, one: Row, other: Row, measure: Measure) -> Difference | None:
    """One - other: as the suite's tables have it where one of them is the reference row.

    Else without peers, which would have other seeds' variance in one direction than in the other.
    """
    if results.reference_of(other) is one:
        found = results.difference(other, measure)
        return replace(found, mean=-found.mean) if found else None
    if results.reference_of(one) is other:
        return results.difference(one, measure)
    return difference(one, other, measure)


def verdict(found: RowComparison, line: Line) -> str:
    """Whether the difference may be claimed, and why."""
    if not np.isfinite(line.found.p):
        if line.found.seeds < 2:
            return "One seed supports no claim about which is better."
        return "Without values by item there is no test, and so no claim."
    p = p_value(line.holm).replace("< ", "below ")
    corrected = f"corrected for the {found.tested} comparisons of the table p is {p}"
    if claims.claimed(line.holm, line.found):
        return f"This is a claim: {corrected}."
    if line.holm < claims.LEVEL:
        return f"This is no claim: {corrected}, but a claim needs {claims.MARK_SEEDS} seeds."
    clear = "the interval excludes 0, but " if line.found.clear else ""
    detectable = number(line.found.detectable, line.measure)
    unit = " points" if line.measure.shown.percent else ""
    return (
        f"This is no claim: {clear}{corrected}; a true difference of {detectable}{unit} would have "
        "been found in 80% of cases."
    )


def paragraph(found: RowComparison) -> str:
    """One paragraph: who, how much, interval, p, seeds x items, and whether it is a claim."""
    line = found.lines[0]
    measure, got = line.measure, line.found
    unit, sign = (" points", "%") if measure.shown.percent else ("", "")
    title = f"{measure.shown.title} on {measure.task_title}"
    more = "above" if got.mean > 0 else "below"
    by = f"{number(abs(got.mean), measure)}{unit} {more}" if got.mean else "level with"
    interval = ""
    if np.isfinite(got.half_width):
        ends = [number(got.mean + side * got.half_width, measure, signed=True) for side in (-1, 1)]
        p = p_value(got.p)
        interval = f", 95% interval {ends[0]} to {ends[1]}, p {p if p[0] == '<' else f'= {p}'}"
    seeds = f"{got.seeds} seed{'s' if got.seeds != 1 else ''}"
    items = f" x {got.items} items" if got.items else ""
    return (
        f"{_suite_name(found.results)}: {found.first.label} is {by} "
        f"{found.second.label} in {title} ({number(line.first, measure)}{sign} against "
        f"{number(line.second, measure)}{sign}{interval}; {seeds}{items}). {verdict(found, line)}"
    )


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
    f"Holm's correction for this table, with at least {claims.MARK_SEEDS} seeds. Detectable: the "
    "true difference that such a test finds in 80% of cases. McNemar, bootstrap, IQM (mean of the "
    "middle half of the runs' accuracies) and P(better) (of a run of the first row) are "
    "descriptive: they are no test when seeds vary (docs/statistics.md)."
)


def text(found: RowComparison) -> str:
    """What `compare` prints: a paragraph, a table of measures and one of kinds of tasks."""
    measures = [
        {
            "measure": heading(line.measure),
            found.first.label: number(line.first, line.measure),
            found.second.label: number(line.second, line.measure),
            "difference": with_spread(line.found, line.measure)
            + ("*" if claims.claimed(line.holm, line.found) else ""),
            "p": p_value(line.found.p),
            "p (Holm)": p_value(line.holm),
            "detectable": number(line.found.detectable, line.measure),
            "McNemar p": p_value(line.extras.get("mcnemar_p", NAN)),
            "bootstrap, items": bootstrap_interval(line.extras, "items", line.measure),
            "bootstrap, both": bootstrap_interval(line.extras, "both", line.measure),
        }
        for line in found.lines
    ]
    titles = {"tasks": "tasks", "P(better)": "P(better), %"}
    aggregated = [
        {
            titles.get(name, f"IQM of {name}, %"): value if name == "tasks" else share(value)
            for name, value in line.items()
        }
        for line in by_role(found)
    ]
    parts = [paragraph(found), table_text(measures), table_text(aggregated), NOTES]
    return "\n\n".join(part for part in parts if part)


def content(found: RowComparison) -> dict[str, Any]:
    """What `compare --json` prints: all numbers unrounded."""
    return {
        "first": found.first.label,
        "second": found.second.label,
        "paragraph": paragraph(found),
        "comparisons": found.tested,
        "measures": [
            _without_nan(
                {"task": line.measure.task, "metric": line.measure.metric}
                | {"first": line.first, "second": line.second}
                | vars(line.found)
                | {"p_holm": line.holm, "claim": claims.claimed(line.holm, line.found)}
                | {"detectable": line.found.detectable}
                | line.extras
            )
            for line in found.lines
        ],
        "by_role": [_without_nan(line) for line in by_role(found)],
    }


def _without_nan(values: dict[str, Any]) -> dict[str, Any]:
    """Undefined numbers as null."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in values.items()
    }


def _suite_name(results: Results) -> str:
    return f"{results.suite.get('suite')} {results.suite.get('profile')}"


@dataclass(frozen=True)
class Tau:
    """Kendall's tau-b of two rankings, with its 95% interval; `why` says why a part is missing."""

    value: float = NAN
    low: float = NAN
    high: float = NAN
    p: float = NAN
    rows: int = 0
    why: str = ""


def tau(first: Sequence[float], second: Sequence[float], level: float = 0.95) -> Tau:
    """Kendall's tau-b and Fieller's interval: tanh(atanh(tau) +- z sqrt(0.437 / (n - 4))).

    tau_b = (concordant - discordant) / sqrt((pairs untied in x) (pairs untied in y)).
    The interval takes the n rows for a sample of methods, and the values for exact: it holds for
    more methods like these, not for more seeds.  It is undefined at -1 and 1 and below 5 rows.

    first, second: (n,) float, paired; pairs with a value that isn't finite don't count.
    Source: Kendall 1945; Fieller, Hartley and Pearson 1957, Tests for rank correlation.
    """
    values = np.array([first, second], dtype=float)
    x, y = values[:, np.isfinite(values).all(axis=0)]
    n = len(x)
    if n < 2:
        return Tau(rows=n, why="fewer than two rows in common")
    if not np.ptp(x) or not np.ptp(y):
        return Tau(rows=n, why="all rows have the same value on one side")
    found = distributions.kendalltau(x, y)
    value, p = float(found.statistic), float(found.pvalue)
    if n < FEWEST:
        return Tau(value, p=p, rows=n, why=f"no interval below {FEWEST} rows")
    if abs(value) > 1 - 1e-12:
        return Tau(value, p=p, rows=n, why="no interval where all pairs agree or all disagree")
    width = float(distributions.norm.ppf(0.5 + level / 2)) * math.sqrt(0.437 / (n - 4))
    middle = math.atanh(value)
    return Tau(value, math.tanh(middle - width), math.tanh(middle + width), p, n)


@dataclass(frozen=True)
class Agreement:
    """Tau by quantity, and which rows it is of."""

    taus: Mapping[str, Tau]
    rows: tuple[str, ...]
    untrained: tuple[str, ...]  # in both, not ranked
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    names: tuple[str, str]


def agree(first: Path, second: Path) -> Agreement:
    """Rank the trained rows that two results folders share, by label, and compare the rankings.

    Raises UserError where there are no results or no such rows.
    """
    sides = read(first), read(second)
    left, right = ({row.label: row for row in one.rows if row.done} for one in sides)
    common = [label for label in left if label in right]
    ranked = [label for label in common if left[label].trained and right[label].trained]
    if not ranked:
        raise UserError(f"{first} and {second} have no trained row in common")
    one, other = (
        quantities(side, [rows[label] for label in ranked])
        for side, rows in zip(sides, (left, right), strict=True)
    )
    return Agreement(
        {title: tau(one[title], other[title]) for title in one},
        tuple(ranked),
        tuple(label for label in common if label not in ranked),
        tuple(label for label in left if label not in right),
        tuple(label for label in right if label not in left),
        (_suite_name(sides[0]), _suite_name(sides[1])),
    )


def quantities(results: Results, rows: Sequence[Row]) -> dict[str, list[float]]:
    """What rows are ranked by: the first reasoning headline, its answer NLL, old skill kept.

    NaN where these results don't have it.  All three point the same way on both sides, and tau
    doesn't ask which way that is.
    """
    shown = ladder_measures(results)
    by_title = {
        "first reasoning headline": shown[:1],
        "answer NLL": [measure for measure in shown if measure.metric == "marginal_nll"],
    }
    values = {
        title: [row.summary(found[0]).mean if found else NAN for row in rows]
        for title, found in by_title.items()
    }
    return values | {"old skill kept": [results.retention_summary(row).mean for row in rows]}


def ranking_text(found: Agreement) -> str:
    """What `agree` prints: what was ranked and left out, how to read it, a line a quantity."""
    left_out = {
        "not trained": found.untrained,
        "only in the first": found.only_first,
        "only in the second": found.only_second,
    }
    parts = [f"{len(rows)} {why} ({_listed(rows)})" for why, rows in left_out.items() if rows]
    lines = []
    for title, one in found.taus.items():
        value, low, high = (decimals(x, 2, signed=True) for x in (one.value, one.low, one.high))
        shown = {"tau-b": value, "95% interval": NONE if low == NONE else f"{low} to {high}"}
        shown = {name: "undefined" if text == NONE else text for name, text in shown.items()}
        lines.append(
            {"ranked by": title, **shown, "p": p_value(one.p), "rows": one.rows, "why": one.why}
        )
    return (
        f"Kendall's tau-b between the rankings of {len(found.rows)} rows by {found.names[0]} and "
        f"by {found.names[1]}: 1 the same order, 0 none, −1 the reverse. "
        f"Left out: {'; '.join(parts) or 'none'}. "
        "The interval is Fieller's, for more methods like these; it takes the rows' values for "
        "exact, and with few seeds they aren't, which pulls tau towards 0."
        f"\n\n{table_text(lines)}"
    )


def _listed(rows: Sequence[str], most: int = 6) -> str:
    more = f" and {len(rows) - most} more" if len(rows) > most else ""
    return ", ".join(rows[:most]) + more


def ranking_content(found: Agreement) -> dict[str, Any]:
    """What `agree --json` prints; undefined numbers are null, with the reason."""
    taus = {title: _without_nan(asdict(one)) for title, one in found.taus.items()}
    return asdict(found) | {"taus": taus}


def reproduce(folder_new: Path, folder_published: Path) -> list[dict[str, Any]]:
    """Compare a run to the published one: a row to print by row and headline that either has.

    verdict: "same" where the difference is within the half-width of its 95% interval, by the
    crossed test of seeds and items or, for one common seed, over the items alone; equal values are
    the same in any case, and "same to 1e-5" are those that another processor may have given.
    asked: the parts of the spec that differ.  Raises UserError where one of the folders holds no
    results.
    """
    new, old = read(folder_new), read(folder_published)
    rows_new, rows_old = ({row.label: row for row in run.rows} for run in (new, old))
    measures = dict.fromkeys([*old.main_measures, *new.main_measures])
    lines = []
    for label in dict.fromkeys([*rows_old, *rows_new]):
        row, before = (rows.get(label, Row(label, "", {})) for rows in (rows_new, rows_old))
        specs = [
            without_paths(next((cell.spec for cell in one.cells.values() if cell.spec), {}))
            for one in (row, before)
        ]
        asked = [name for name in COMPARED if specs[0].get(name) != specs[1].get(name)]
        for measure in measures:
            if measure not in row.values and measure not in before.values:
                continue
            found = difference(row, before, measure, one_seed=True)
            verdict = _same(found)
            lines.append({
                "method": label,
                "task": measure.task_title,
                "metric": measure.shown.title,
                "published": with_spread(before.summary(measure), measure),
                "new": with_spread(row.summary(measure), measure),
                "difference": with_spread(found, measure),
                "same": verdict in (SAME, SAME_TO),
                "verdict": verdict,
                "asked": f"other {', '.join(asked)}" if asked and all(specs) else "",
            })  # fmt: skip
    return lines


def _same(found: Difference | None) -> str:
    if found is None:
        return "missing"
    known = math.isfinite(found.half_width)
    if abs(found.mean) <= max(_EXACT, found.half_width if known else 0):
        return SAME
    if abs(found.mean) <= _CLOSE:
        return SAME_TO
    return "different" if known else "no interval"
