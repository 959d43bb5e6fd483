"""Is the whole greater than the sum? Items that a row solves and no single-teacher student does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import comb

from compact_bench.analysis import statistics
from compact_bench.analysis.forgetting import diagnostics_recorded
from compact_bench.analysis.results import Results, Row
from compact_bench.analysis.statistics import Difference, Summary
from compact_bench.records.parquet import Seed
from compact_bench.report.parts import captions, formats
from compact_bench.report.parts.formats import Table
from compact_bench.report.parts.numbers import lowest_to_highest, spread
from compact_bench.suite.schema import IN_DOMAIN

BEYOND, MISSED = "beyond singles", "missed"
BEYOND_SOME, BEYOND_SEEDS = "beyond k singles", "beyond k seeds"


@dataclass(frozen=True)
class Counted:
    """A row's outcomes beside the reference row's, each (S,n): S common seeds, n common items.

    By kind: BEYOND (solved, and by no single-teacher student), MISSED (not solved, and by some),
    BEYOND_SOME (solved, and by none of k singles, mean over all choices of k) and BEYOND_SEEDS
    (solved, and by none of k other seeds of the reference row).
    """

    seeds: tuple[Seed, ...]
    singles: tuple[int, ...]  # by seed
    others: tuple[int, ...]  # k, by seed
    mine: Mapping[str, np.ndarray]
    reference: Mapping[str, np.ndarray]

    @property
    def shown(self) -> tuple[str, ...]:
        """The kinds that there are: with one seed there is no other seed to compare with."""
        return (BEYOND, MISSED, *((BEYOND_SOME, BEYOND_SEEDS) if all(self.others) else ()))

    def items(self, kind: str) -> Summary:
        """The number of items, mean and sd over seeds."""
        return statistics.summarise(self.mine[kind].sum(axis=1).tolist())

    def difference(self, kind: str) -> Difference:
        """Items more than the reference row's, D_si in {-1, 0, 1} by the crossed test, times n."""
        values = self.mine[kind] - self.reference[kind]
        found = statistics.crossed(values)
        n = values.shape[1]
        return replace(found, mean=found.mean * n, half_width=found.half_width * n)


def is_single(row: Row) -> bool:
    """Whether the row is trained on one teacher only, by what its records say."""
    return row.trained and bool(row.teacher)


def singles_of(results: Results, condition: str) -> dict[Seed, pd.DataFrame]:
    """By seed what single-teacher students solve, a line a student and a column an item.

    Empty unless two rows or more are trained on one teacher.
    """
    rows = [row for row in results.rows if row.condition == condition and is_single(row)]
    tables = [table for row in rows if (table := _right(row)) is not None]
    if len(tables) < 2:
        return {}
    seeds = dict.fromkeys(seed for table in tables for seed in table.index)
    found = (pd.DataFrame([table.loc[s] for table in tables if s in table.index]) for s in seeds)
    return {seed: frame.dropna(axis=1) for seed, frame in zip(seeds, found, strict=True)}


def _right(row: Row) -> pd.DataFrame | None:
    return row.items.get((IN_DOMAIN, "right"))


def counted(row: Row, reference: Row, singles: Mapping[Seed, pd.DataFrame]) -> Counted | None:
    """Outcomes on the seeds and items that the row, the reference and the singles share."""
    mine, other = _right(row), _right(reference)
    if mine is None or other is None:
        return None
    mine, other = mine.dropna(axis=1), other.dropna(axis=1)
    seeds = [seed for seed in mine.index if seed in other.index and seed in singles]
    if not seeds:
        return None
    items = mine.columns.intersection(other.columns, sort=False)
    for seed in seeds:
        items = items.intersection(singles[seed].columns, sort=False)
    mine, other = mine[items], other[items]
    among = {seed: _others(other, seed, len(singles[seed])) for seed in seeds}
    place = {seed: number for number, seed in enumerate(other.index)}
    solved = other.to_numpy(float)
    beside = [
        (singles[seed][items].to_numpy(float), solved[[place[one] for one in among[seed]]])
        for seed in seeds
    ]
    found = [
        [_outcomes(line, *ones) for line, ones in zip(lines, beside, strict=True)]
        for lines in (table.loc[seeds].to_numpy(float) for table in (mine, other))
    ]
    stacked = ({kind: np.stack([one[kind] for one in ones]) for kind in ones[0]} for ones in found)
    numbers = tuple(len(singles[seed]) for seed in seeds)
    return Counted(tuple(seeds), numbers, tuple(len(among[s]) for s in seeds), *stacked)


def _others(reference: pd.DataFrame, seed: Seed, most: int) -> list[Seed]:
    """At most so many other seeds of the reference row, those after this seed first."""
    seeds = list(reference.index)
    at = seeds.index(seed)
    return [*seeds[at + 1 :], *seeds[:at]][:most]


def _outcomes(solved: np.ndarray, singles: np.ndarray, others: np.ndarray) -> dict[str, np.ndarray]:
    """Per item of one seed. solved: (n,); singles: (K,n); others: (k,n); all 0 or 1."""
    by_single, total, k = singles.sum(axis=0), len(singles), len(others)
    # Of k drawn from the K singles, m of which solve it, none does: C(K - m, k) / C(K, k).
    by_none = comb(total - by_single, k) / comb(total, k)
    return {
        BEYOND: solved * (by_single == 0),
        MISSED: (1 - solved) * (by_single > 0),
        BEYOND_SOME: solved * by_none,
        BEYOND_SEEDS: solved * (others.sum(axis=0) == 0),
    }


def table(results: Results) -> Table | None:
    """What each trained row solves beyond single teachers; None with fewer than two such rows."""
    found = dict(_rows(results)) if diagnostics_recorded(results) else {}
    if not found:
        return None
    rows = [row for row in results.rows if row.label in found]
    columns = {"method": [row.label for row in rows]}
    name = captions.reference(results)
    titles = {
        BEYOND: ("solved, by no single", f"Δ to {name}"),
        MISSED: ("not solved, by some single", f"Δ to {name} (not solved)"),
        BEYOND_SOME: ("solved, by none of k singles", ""),
        BEYOND_SEEDS: (f"solved, by none of k other seeds of {name}", ""),
    }
    for kind, (title, change) in titles.items():
        known = [one if kind in one.shown else None for one in found.values()]
        if not any(known):
            continue
        columns[title] = [spread(one.items(kind) if one else None) for one in known]
        if change:
            columns[change] = [
                spread(found[row.label].difference(kind) if results.compared_to(row) else None)
                for row in rows
            ]
    text = captions.caption(results, *_caption(results, [*found.values()]))
    title = "Is the whole greater than the sum?"
    return formats.table("beyond", title, text, columns, _numbers(results, rows, found))


def _rows(results: Results) -> Iterator[tuple[str, Counted]]:
    """Trained rows by label; of a single-teacher row the count is 0 by construction."""
    conditions = dict.fromkeys(row.condition for row in results.rows)
    singles = {condition: singles_of(results, condition) for condition in conditions}
    for row in results.rows:
        reference = results.reference_of(row)
        if row.trained and not is_single(row) and reference is not None:
            if (one := counted(row, reference, singles[row.condition])) is not None:
                yield row.label, one


def _numbers(results: Results, rows: list[Row], found: Mapping[str, Counted]) -> pd.DataFrame:
    """A line a row and kind: items, and the difference to the reference row's."""
    lines: list[dict[str, Any]] = []
    names = ("mean", "half_width", "p", "df", "test")
    for row in rows:
        one, other = found[row.label], results.compared_to(row)
        for kind in one.shown:
            count = one.items(kind)
            compared = one.difference(kind) if other else Difference(statistics.NAN)
            lines.append(
                results.key(row)
                | {"outcome": kind, "items": count.mean, "items.sd": count.sd}
                | {f"difference.{name}": getattr(compared, name) for name in names}
                | {"seeds": len(one.seeds), "of_items": one.mine[kind].shape[1]}
                | {"singles": max(one.singles), "k": max(one.others)}
            )
    return pd.DataFrame(lines)


def _caption(results: Results, found: list[Counted]) -> Iterator[str]:
    def bounds(values: list[int]) -> str:
        return lowest_to_highest([str(min(values)), str(max(values))])

    name = captions.reference(results)
    singles = bounds([number for one in found for number in one.singles])
    items = bounds([one.mine[BEYOND].shape[1] for one in found])
    yield (
        f"Number of in-domain items, of {items}, mean ± standard deviation over seeds. Solved, by "
        "no single: the row answers right and none of the students of the same seed that are "
        f"trained on one teacher does ({singles} of them). Not solved, by some single: the reverse"
    )
    yield (
        "Any row has such items by luck alone: what counts is whether it has more of them than "
        f"{name}"
    )
    yield captions.intervals((one.difference(BEYOND) for one in found), "rows")
    if any(BEYOND_SEEDS in one.shown for one in found):
        others = bounds([number for one in found for number in one.others])
        yield (
            f"Control for luck, k = {others}: items that the row solves and none of k other seeds "
            f"of {name} solves, beside those that it solves and none of k single-teacher students "
            "solves (mean over all choices of k). Where both are about equal, items beyond single "
            "teachers are what another seed would bring as well"
        )
