"""Two models beside each other, question by question, from the answers that lm-eval logged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from compact_bench.analysis import statistics
from compact_bench.analysis.descriptive import mcnemar
from compact_bench.analysis.statistics import Difference
from compact_bench.errors import UserError
from compact_bench.records.lm_eval_samples import read_samples, sample_files
from compact_bench.report.parts.numbers import NONE, decimals, p_value, spread
from compact_bench.utils.printing import table_text

NOTES = {
    "items": "One run of each: ± is the half-width of the 95% interval of a paired t test over the "
    "questions. It is about these two runs; another training or sampling seed would add to it.",
    "crossed": "±: half-width of the 95% interval by the crossed test, runs and questions random. "
    "Runs are paired in the order of their files' names.",
}


@dataclass(frozen=True)
class SampleComparison:
    """One metric under one filter: first minus second. gained, lost: answers that only the first,
    or only the second, has right; None where values are not 0 or 1. p_flips: McNemar's exact p of
    these, None with several runs, which it would take for other questions.
    """

    filter: str
    metric: str
    first: float
    second: float
    found: Difference
    gained: int | None
    lost: int | None
    p_flips: float | None
    holm: float = math.nan


def compare_samples(first: Path, second: Path) -> list[SampleComparison]:
    """Compare two runs, or two folders of as many runs each, question by question.

    Raises UserError where the runs differ in number or in their questions, or have no metric in
    common.
    """
    sides = [[read_samples(file) for file in sample_files(path)] for path in (first, second)]
    if len(sides[0]) != len(sides[1]):
        raise UserError(
            f"{first} has {len(sides[0])} runs and {second} {len(sides[1])}: as many of each are "
            "needed (of one task: name a file for another)"
        )
    _same_questions([*sides[0], *sides[1]], first, second)
    tables = [_by_metric(side) for side in sides]
    known = [key for key in tables[0] if key in tables[1]]
    if not known:
        raise UserError(f"{first} and {second} have no metric in common")
    lines = [_compared(key, tables[0][key], tables[1][key]) for key in known]
    corrected = statistics.holm([line.found.p for line in lines])
    return [
        SampleComparison(**{**vars(line), "holm": float(p)})
        for line, p in zip(lines, corrected, strict=True)
    ]


def _same_questions(runs: Sequence[pd.DataFrame], first: Path, second: Path) -> None:
    """Every run asked the same questions; a run with fewer would be compared on its own choice."""
    asked = [run.drop_duplicates("doc_id").set_index("doc_id")["doc_hash"] for run in runs]
    for other in asked[1:]:
        apart = asked[0].index.symmetric_difference(other.index)
        if len(apart):
            raise UserError(
                f"{first} and {second} were not asked the same questions: {len(apart)} are in one "
                f"alone, doc_id {apart[0]} for one"
            )
        changed = asked[0].index[asked[0].to_numpy() != other.reindex(asked[0].index).to_numpy()]
        if len(changed):
            raise UserError(f"doc_id {changed[0]} is not the same question in {first} and {second}")


def _by_metric(runs: Sequence[pd.DataFrame]) -> dict[tuple[str, str], np.ndarray]:
    """(filter, metric) -> (S,n) float64, of the metrics that every run has for every question."""
    wide = [run.pivot(index=["filter", "metric"], columns="doc_id", values="value") for run in runs]
    keys = [key for key in wide[0].index if all(key in other.index for other in wide[1:])]
    made = {key: np.stack([other.loc[key].to_numpy(np.float64) for other in wide]) for key in keys}
    return {key: values for key, values in made.items() if not np.isnan(values).any()}


def _compared(key: tuple[str, str], one: np.ndarray, other: np.ndarray) -> SampleComparison:
    """One metric; one, other: (S,n)."""
    apart = one - other
    found = statistics.crossed(apart) if len(apart) > 1 else statistics.over_items(apart[0])
    gained = lost = p_flips = None
    if np.isin([one, other], (0.0, 1.0)).all():
        gained, lost = int((apart > 0).sum()), int((apart < 0).sum())
        p_flips = float(mcnemar(gained, lost)) if len(apart) == 1 else None
    return SampleComparison(
        *key, float(one.mean()), float(other.mean()), found, gained, lost, p_flips
    )


def text(lines: Sequence[SampleComparison]) -> str:
    """What `compare --samples` prints."""
    rows = [
        {
            "metric": line.metric + ("" if line.filter == "none" else f" ({line.filter})"),
            "first": decimals(line.first, 4),
            "second": decimals(line.second, 4),
            "difference": spread(line.found, 4),
            "p": p_value(line.found.p),
            "p (Holm)": p_value(line.holm),
            "only first right": NONE if line.gained is None else str(line.gained),
            "only second right": NONE if line.lost is None else str(line.lost),
            "McNemar p": NONE if line.p_flips is None else p_value(line.p_flips),
            "detectable": decimals(line.found.detectable, 4),
        }
        for line in lines
    ]
    found = lines[0].found
    runs = "one run each" if found.seeds < 2 else f"{found.seeds} runs each"
    notes = (
        f"{found.items} questions, {runs}. {NOTES.get(found.test, '')} Detectable: the true "
        "difference that such a test finds in 80% of cases."
    )
    return "\n\n".join([table_text(rows), notes])


def content(lines: Sequence[SampleComparison]) -> list[dict[str, Any]]:
    """What `compare --samples --json` prints: all numbers unrounded."""
    rows = [
        asdict(line) | asdict(line.found) | {"detectable": line.found.detectable} for line in lines
    ]
    return [
        {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in row.items()
            if name != "found"
        }
        for row in rows
    ]
