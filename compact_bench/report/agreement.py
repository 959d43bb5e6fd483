"""Does one profile predict another? Kendall's tau between their rankings of the same rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats as distributions

from compact_bench.analysis.results import Results, Row, read
from compact_bench.analysis.statistics import NAN
from compact_bench.errors import UserError
from compact_bench.report.parts.numbers import p_value

FEWEST = 5  # rows: Fieller's variance has n - 4 below the line


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

    first, second: (n,) float, paired.
    Source: Kendall 1945; Fieller, Hartley and Pearson 1957, Tests for rank correlation.
    """
    n = len(first)
    if n < 2:
        return Tau(rows=n, why="fewer than two rows in common")
    if len(set(first)) == 1 or len(set(second)) == 1:
        return Tau(rows=n, why="all rows have the same value on one side")
    found = distributions.kendalltau(first, second)
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
    names = _name(sides[0]), _name(sides[1])
    if not ranked:
        raise UserError(f"{first} and {second} have no trained row in common")
    values = [
        quantities(one, [rows[label] for label in ranked])
        for one, rows in zip(sides, (left, right), strict=True)
    ]
    taus = {}
    for title in values[0]:
        x, y = (np.array(one[title], dtype=float) for one in values)
        known = np.isfinite(x) & np.isfinite(y)
        taus[title] = tau(x[known].tolist(), y[known].tolist())
    return Agreement(
        taus,
        tuple(ranked),
        tuple(label for label in common if label not in ranked),
        tuple(label for label in left if label not in right),
        tuple(label for label in right if label not in left),
        names,
    )


def _name(results: Results) -> str:
    return f"{results.suite.get('suite')} {results.suite.get('profile')}"


def quantities(results: Results, rows: Sequence[Row]) -> dict[str, list[float]]:
    """What rows are ranked by: the first reasoning headline, its answer NLL, old skill kept.

    NaN where these results don't have it.  All three point the same way on both sides, and tau
    doesn't ask which way that is.
    """
    headline = next(iter(results.headlines("reasoning")), None)
    nll = next(
        (m for m in results.measures
         if headline and m.task == headline.task and m.metric == "marginal_nll"), None
    )  # fmt: skip
    return {
        "first reasoning headline": [_mean(row, headline) for row in rows],
        "answer NLL": [_mean(row, nll) for row in rows],
        "old skill kept": [results.retention_summary(row).mean for row in rows],
    }


def _mean(row: Row, measure: Any) -> float:
    return row.summary(measure).mean if measure else NAN


def lines(found: Agreement) -> list[dict[str, Any]]:
    """A line for each quantity."""

    def signed(value: float) -> str:
        return f"{value:+.2f}".replace("-", "−") if math.isfinite(value) else "undefined"

    return [
        {
            "ranked by": title,
            "tau-b": signed(one.value),
            "95% interval": f"{signed(one.low)} to {signed(one.high)}"
            if math.isfinite(one.low)
            else "undefined",
            "p": p_value(one.p),
            "rows": one.rows,
            "why": one.why,
        }
        for title, one in found.taus.items()
    ]


def said(found: Agreement) -> str:
    """What was ranked, what was left out, and how to read the interval."""
    left_out = {
        "not trained": found.untrained,
        "only in the first": found.only_first,
        "only in the second": found.only_second,
    }
    parts = [f"{len(rows)} {why} ({_listed(rows)})" for why, rows in left_out.items() if rows]
    return (
        f"Kendall's tau-b between the rankings of {len(found.rows)} rows by {found.names[0]} and "
        f"by {found.names[1]}: 1 the same order, 0 none, −1 the reverse. "
        f"Left out: {'; '.join(parts) or 'none'}. "
        "The interval is Fieller's, for more methods like these; it takes the rows' values for "
        "exact, and with few seeds they aren't, which pulls tau towards 0."
    )


def _listed(rows: Sequence[str], most: int = 6) -> str:
    more = f" and {len(rows) - most} more" if len(rows) > most else ""
    return ", ".join(rows[:most]) + more


def content(found: Agreement) -> dict[str, Any]:
    """What `--json` prints; undefined numbers are null, with the reason."""
    taus = {
        title: {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in asdict(one).items()
        }
        for title, one in found.taus.items()
    }
    return asdict(found) | {"taus": taus}
