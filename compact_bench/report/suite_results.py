"""The results of a suite as Python gets them: tables as DataFrames, comparisons, figures."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from compact_bench.analysis.results import Results, Row, read
from compact_bench.errors import UserError, unknown
from compact_bench.records.cells import Cell
from compact_bench.report import comparison, contents, terminal
from compact_bench.report.comparison import RowComparison

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False, repr=False)
class SuiteResults(Results):
    """Everything that was recorded and computed, by row, condition, seed, task and metric.

    `rows` and `named` give the rows themselves; the methods below give tables to go on with.
    A row is named by its label, or by its method where only one row has it.
    """

    def metrics(self) -> pd.DataFrame:
        """Every value of every seed, one a line; see `frame`, whose other name this is."""
        return self.frame()

    def differences(self) -> pd.DataFrame:
        """Each row minus the reference row: mean, half_width, p, p_holm, detectable, df, test.

        mean: of what the metric has, a share, nats or tokens; half_width: of the 95% interval.
        """
        return self.table("differences")

    def table(self, name: str) -> pd.DataFrame:
        """The numbers of a table of the report: `main`, `cost`, `detection`, ...

        Empty where these results don't allow the table. Raises UserError for an unknown name.
        """
        if name not in contents.TABLES:
            raise unknown("no table", name, contents.TABLES)
        made = contents.TABLES[name](self)
        return pd.DataFrame() if made is None else made.numbers

    def samples(self, row: str | None = None) -> pd.DataFrame:
        """Every answer: row, condition, seed, task, question_id, output, extracted, right, ..."""
        return self._joined(row, lambda cell: pd.DataFrame(cell.samples()))

    def steps(self, row: str | None = None) -> pd.DataFrame:
        """One line a training step, question and rationale: weight, nll, lengths, scores."""
        return self._joined(row, lambda cell: cell.steps())

    def weights(self) -> pd.DataFrame:
        """The mean weight of each teacher by row, condition, seed and epoch, float64."""
        keys = ["row", "condition", "seed", "epoch", "teacher"]
        columns = ["epoch", "teacher", "weight"]

        def means(cell: Cell) -> pd.DataFrame:
            steps = cell.steps(columns)
            return steps.groupby(columns[:2], as_index=False)["weight"].mean()

        made = self._joined(None, means)
        return made if made.empty else made[[*keys, "weight"]].dropna(ignore_index=True)

    def compare(self, first: str, second: str) -> RowComparison:
        """First minus second on every headline; printed, it is the text of `compare`."""
        return comparison.compare_rows(self, first, second)

    def plot(self, name: str = "tradeoff") -> Figure:
        """A figure of the report, to show or save. Raises UserError where there is none."""
        if name not in contents.FIGURES:
            raise unknown("no figure", name, contents.FIGURES)
        made = contents.FIGURES[name](self)
        if made is None:
            raise UserError(f"these results have no figure {name!r}")
        return made.content.figure  # type: ignore[attr-defined, no-any-return]

    def _joined(self, row: str | None, of: Callable[[Cell], pd.DataFrame]) -> pd.DataFrame:
        """What `of` makes of each cell that is done, with row, condition and seed before it."""
        chosen = self.rows if row is None else (comparison.find(self, row),)
        frames = [*_frames(chosen, of)]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    def __repr__(self) -> str:
        """Suite, profile, and how many cells are done."""
        cells = [cell.state for row in self.rows for cell in row.cells.values()]
        name = f"{self.suite.get('suite')} {self.suite.get('profile')}"
        return f"<{name}: {len(self.rows)} rows, {cells.count('done')} of {len(cells)} cells done>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the table that a terminal gets."""
        return f"<pre>{html.escape(terminal.summary(self, width=120))}</pre>"


def _frames(rows: Any, of: Callable[[Cell], pd.DataFrame]) -> Iterator[pd.DataFrame]:
    row: Row
    for row in rows:
        for seed, cell in row.done.items():
            frame = of(cell)
            if len(frame):
                frame.insert(0, "row", row.name)
                frame.insert(1, "condition", row.condition)
                frame.insert(2, "seed", pd.array([seed] * len(frame), dtype="Int64"))
                yield frame


def load(folder: Path) -> SuiteResults:
    """The results of a folder. Raises UserError where no suite was run there."""
    found = read(folder)
    return SuiteResults(**{one.name: getattr(found, one.name) for one in fields(found) if one.init})
