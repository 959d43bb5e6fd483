"""Rationales by the step records: their weights, their scores, and how well these detect faults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from compact_bench.analysis import detection
from compact_bench.analysis.detection import Auroc, Tally
from compact_bench.analysis.results import Results, Row, cached
from compact_bench.analysis.statistics import NAN
from compact_bench.records.cells import joined_steps
from compact_bench.records.parquet import NO_SEED, Seed
from compact_bench.records.suite_record import RATIONALE_KEY
from compact_bench.utils.processes import mapped

WRONG, ANY = "wrong answer", "any fault"
FIRST, LATER = "first", "later"  # passes over the data
WEIGHT, SCORE, LENGTH = "weight", "score_", "rationale_tokens"

# Detectors that need no method: they are what a method's weights must beat.
SHORTNESS, LIKELIHOOD, AGREEMENT = "shortness", "likelihood", "agreement"
TRIVIAL = (SHORTNESS, LIKELIHOOD, AGREEMENT)
_EQUAL = 1e-6  # weights that differ by less count as equal


@dataclass(frozen=True)
class RationaleStats:
    """What one row did with rationales, over all its seeds and passes.

    tallies: by detector, truth (WRONG, ANY or a fault's name) and pass.  coverage: by detector,
    the share of rationales that have a value.  teachers: for each teacher its weight (mean over
    questions, of its rationales together), its share of right answers, and of rationales with
    each score.  effective: the effective number of rationales.  distance: how far the weights are
    from equal ones, 0 to 1 (see `_distance`).  corrupted: by seed, the weight of
    spoilt rationales over what equal weights would give them.  count: rationales that a seed read
    in its first pass.
    """

    tallies: Mapping[tuple[str, str, str], Tally] = field(default_factory=dict)
    coverage: Mapping[str, float] = field(default_factory=dict)
    teachers: pd.DataFrame = field(default_factory=pd.DataFrame)
    effective: float = NAN
    distance: float = NAN
    unequal: bool = False
    corrupted: Mapping[Seed, float] = field(default_factory=dict)
    count: float = 0.0

    @property
    def scores(self) -> list[str]:
        """The names of the scores that were recorded."""
        return [name for name in self.coverage if name not in (*TRIVIAL, WEIGHT)]

    def has_pairs(self, detector: str) -> bool:
        """Whether there is any pair of rationales for a detector to compare."""
        return any(name == detector for name, _, _ in self.tallies)

    def auroc(self, detector: str, truth: str, when: str) -> Auroc | None:
        """How well a detector finds this truth in this pass; None where there is no pair."""
        tally = self.tallies.get((detector, truth, when))
        return detection.auroc(tally) if tally is not None and tally.pairs.any() else None

    def latest(self, detector: str, truth: str) -> Tally | None:
        """The tally of the later passes, or of the first where there was one pass only."""
        tallies = (self.tallies.get((detector, truth, when)) for when in (LATER, FIRST))
        return next((tally for tally in tallies if tally is not None and tally.pairs.any()), None)


@cached
def rationale_stats(results: Results) -> dict[str, RationaleStats]:
    """The numbers of every row by its label."""
    banks = dict(iter(results.bank.groupby("condition"))) if len(results.bank) else {}

    def of_row(row: Row) -> RationaleStats:
        bank = banks.get(row.condition, pd.DataFrame())
        return _rationale_stats(row, bank, corruptions(results, row))

    by_row = mapped(of_row, results.rows)
    return {row.label: stats for row, stats in zip(results.rows, by_row, strict=True)}


def corruptions(results: Results, row: Row) -> tuple[str, ...]:
    """The faults that were put into the row's data on purpose; () = every fault counts."""
    own = [c.get("data", {}) for c in results.conditions if c["name"] == row.condition]
    sections = (*own, results.suite.get("data", {}))
    return next((tuple(data["corrupt"] or ()) for data in sections if "corrupt" in data), ())


def trivial_row(results: Results, condition: str) -> Row | None:
    """The row whose records trivial detectors are read from: one that read everything.

    Of the rows that read most in their first pass it is the reference row, or else the first.
    """
    stats = rationale_stats(results)
    rows = [row for row in results.rows if row.condition == condition and stats[row.label].count]
    reference = results.named(str(results.suite.get("compare_to")), condition)
    return max(rows, key=lambda row: (stats[row.label].count, row is reference), default=None)


def lengths_known(results: Results) -> bool:
    """Whether any row recorded how long rationales are; earlier records did not."""
    every = rationale_stats(results).values()
    return any(stats.coverage.get(SHORTNESS, 0) > 0 for stats in every)


def _rationale_stats(row: Row, bank: pd.DataFrame, faults: Sequence[str]) -> RationaleStats:
    frame = _steps(row)
    if bank.empty or frame.empty:
        return RationaleStats()
    cells = frame["seed"].nunique()
    known = bank[bank["role"] == "teacher"]
    if "answer" in known:
        agreement = detection.agreement(known["question_id"], known["answer"])
        known = known.assign(**{AGREEMENT: agreement})
    # A record's rationale that the bank lacks (a human's, or none at all) is nobody's to judge.
    frame = frame.merge(known, on=RATIONALE_KEY, how="inner")
    if frame.empty:
        return RationaleStats()
    groups = frame.groupby(["seed", "step", "question_id"], sort=False)
    frame = frame.assign(group=groups.ngroup(), slot=groups.cumcount())
    detectors = [c for c in (WEIGHT, *TRIVIAL) if c in frame]
    detectors += [c for c in frame.columns if c.startswith(SCORE)]
    return RationaleStats(
        tallies=dict(_tallies(frame, detectors)),
        coverage={c.removeprefix(SCORE): float(frame[c].notna().mean()) for c in detectors},
        count=int((frame["epoch"] == 0).sum()) / cells,
        **_weights(frame, known, faults),
    )


def _steps(row: Row) -> pd.DataFrame:
    """Step records of all seeds, with the trivial detectors that were recorded."""
    needed = {*RATIONALE_KEY, "step", "epoch"}
    wanted = {*needed, WEIGHT, "nll", LENGTH}
    frame = joined_steps(row.done, lambda c: c in wanted or c.startswith(SCORE), needed)
    for detector, column in ((LIKELIHOOD, "nll"), (SHORTNESS, LENGTH)):
        if column in frame:
            frame[detector] = -frame[column]
    return frame.drop(columns=["nll", LENGTH], errors="ignore")


def _grid(frame: pd.DataFrame, column: str, missing: float | bool | str) -> np.ndarray:
    """A column as (groups, rationales of a group), with `missing` where there is none."""
    shape = int(frame["group"].max()) + 1, int(frame["slot"].max()) + 1
    values = frame[column].to_numpy()
    grid = np.full(shape, missing, dtype=object if isinstance(missing, str) else type(missing))
    grid[frame["group"].to_numpy(), frame["slot"].to_numpy()] = values
    return grid


def _tallies(
    frame: pd.DataFrame, detectors: Sequence[str]
) -> Iterator[tuple[tuple[str, str, str], Tally]]:
    heads = frame.drop_duplicates("group").sort_values("group")
    questions, of_group = np.unique(heads["question_id"].to_numpy(str), return_inverse=True)
    right, present = _grid(frame, "right", False), _grid(frame, "slot", -1) >= 0
    fault = _grid(frame, "corruption", "")
    clean = right & (fault == "")
    named = [name for name in frame["corruption"].drop_duplicates() if name]
    truths = {WRONG: (right, present & ~right), ANY: (clean, fault != "")}
    truths |= {name: (clean, fault == name) for name in sorted(named)}
    first = (heads["epoch"] == 0).to_numpy()
    for detector in detectors:
        values = _grid(frame, detector, NAN)
        won, known = detection.comparisons(values), ~np.isnan(values)
        for truth, (good, bad) in truths.items():
            wins, pairs = detection.count(won, known, good, bad)
            for when, chosen in ((FIRST, first), (LATER, ~first)):
                if pairs[chosen].any():
                    counts = wins[chosen], pairs[chosen]
                    tally = detection.tally(questions, of_group[chosen], *counts)
                    yield (detector.removeprefix(SCORE), truth, when), tally


def _weights(frame: pd.DataFrame, known: pd.DataFrame, faults: Sequence[str]) -> dict[str, Any]:
    """The fields that are about teachers and weights."""
    scores = [c for c in frame.columns if c.startswith(SCORE)]
    by_teacher = frame.groupby("teacher", sort=False)
    columns = {"right": by_teacher["right"].mean()}
    columns |= {c.removeprefix(SCORE): by_teacher[c].count() / by_teacher.size() for c in scores}
    if WEIGHT not in frame:
        return {"teachers": pd.DataFrame(columns)}
    groups = int(frame["group"].max()) + 1
    columns[WEIGHT] = by_teacher[WEIGHT].sum() / groups
    grid = _grid(frame, WEIGHT, NAN)
    equal = 1 / np.maximum((~np.isnan(grid)).sum(axis=1, keepdims=True), 1)
    return {
        "teachers": pd.DataFrame(columns),
        "effective": float(detection.effective_number(grid).mean()),
        "distance": _distance(grid, frame, known),
        "unequal": bool((np.abs(np.nan_to_num(grid - equal)) > _EQUAL).any()),
        "corrupted": _corrupted(frame, known, faults),
    }


def _distance(grid: np.ndarray, frame: pd.DataFrame, known: pd.DataFrame) -> float:
    """Mean over questions and steps of 1/2 sum_r |w_r - 1/R|: the total variation.

    R: all teachers' rationales of the question, read or not, as `average` weights them; one that
    wasn't read has w = 0. grid: (groups, rationales) weights, NaN where there is none.
    """
    written = known.groupby("question_id").size()
    heads = frame.drop_duplicates("group").sort_values("group")
    count = heads["question_id"].map(written).to_numpy(float)  # (groups,)
    equal = 1 / count
    read = ~np.isnan(grid)
    apart = np.where(read, np.abs(np.nan_to_num(grid) - equal[:, None]), 0.0).sum(axis=1)
    return float(((apart + (count - read.sum(axis=1)) * equal) / 2).mean())


def _corrupted(
    frame: pd.DataFrame, known: pd.DataFrame, faults: Sequence[str]
) -> dict[Seed, float]:
    """By seed: the spoilt rationales' weight over the weight that equal shares would give them.

    Equal shares are of all teachers' rationales of the question, read or not: a row that reads
    no spoilt rationale gives them 0.
    """

    def is_spoilt(rationales: pd.DataFrame) -> pd.Series:
        corruption = rationales["corruption"]
        return corruption.isin(faults) if faults else corruption != ""

    share = is_spoilt(known).groupby(known["question_id"]).mean()
    weight = (frame[WEIGHT] * is_spoilt(frame)).groupby(frame["seed"]).sum()
    heads = frame.drop_duplicates("group")
    due = heads["question_id"].map(share).groupby(heads["seed"]).sum()
    return {
        None if seed == NO_SEED else int(seed): float(weight[seed] / due[seed])
        for seed in due.index
        if due[seed] > 0
    }
