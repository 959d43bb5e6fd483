"""Results -> tables of weights and scores: what they tell apart, and how far they reach."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from compact_bench.analysis.detection import Auroc
from compact_bench.analysis.results import Results, Row
from compact_bench.analysis.weights import (
    ANY,
    FIRST,
    LATER,
    SHORTNESS,
    TRIVIAL,
    WEIGHT,
    WRONG,
    RationaleStats,
    lengths_known,
    rationale_stats,
    trivial_row,
)
from compact_bench.report.parts import captions, formats
from compact_bench.report.parts.formats import Table
from compact_bench.report.parts.numbers import decimals, share, spread

ACTS = 0.02  # mean distance from equal weights below which a row's weights are marked


def _sees_gold(row: Row, score: str) -> bool:
    """Whether a score is made from the gold answer: part of what it tells it was told.

    Gains of the gold answer are; what a row weights by as adaptability only where the row says so.
    """
    if score == "adaptability":
        return row.uses_gold is not False  # not on record: of a version that did
    return score.startswith("adaptability_")


@dataclass(frozen=True)
class DetectorLine:
    """One detector of one row; `trivial` where it needs no method."""

    row: Row
    reading: RationaleStats
    detector: str
    gold: bool
    trivial: bool = False

    @property
    def label(self) -> str:
        """The method's, or that there is none."""
        parts = ("(no method)", self.row.condition) if self.trivial else (self.row.label,)
        return " · ".join(filter(None, parts))

    def auroc(self, truth: str, when: str) -> Auroc:
        return self.reading.auroc(self.detector, truth, when) or Auroc(math.nan)


def _lines(results: Results) -> Iterator[DetectorLine]:
    """Each condition's trivial detectors once, then each row's weights and scores."""
    found = rationale_stats(results)
    for condition in dict.fromkeys(row.condition for row in results.rows):
        if (row := trivial_row(results, condition)) is not None:
            reading = found[row.label]
            for detector in filter(reading.has_pairs, TRIVIAL):
                yield DetectorLine(row, reading, detector, False, trivial=True)
        for row in (row for row in results.rows if row.condition == condition):
            reading = found[row.label]
            if reading.unequal and reading.has_pairs(WEIGHT):
                yield DetectorLine(row, reading, WEIGHT, bool(row.uses_gold))
            for name in filter(reading.has_pairs, reading.scores):
                yield DetectorLine(row, reading, name, _sees_gold(row, name))


def detection(results: Results) -> Table | None:
    """AUROC of weights, scores and trivial detectors; None without lengths to compare with.

    Records of earlier versions don't hold how long rationales are, and so lack the yardstick.
    """
    lines = list(_lines(results)) if lengths_known(results) else []
    numbers = pd.DataFrame([line for one in lines for line in _numbers(results, one)])
    if numbers.empty:
        return None
    columns = {
        "method": [one.label for one in lines],
        "detector": [one.detector for one in lines],
        "sees gold": ["yes" if one.gold else "no" for one in lines],
    }
    # Wrong answers and each fault; with conditions all faults together, or it grows too wide.
    truths = [WRONG, *sorted(set(numbers["truth"]) - {WRONG, ANY})]
    aurocs = {
        f"{truth.replace('_', ' ')}, {title}": [spread(one.auroc(truth, when), 2) for one in lines]
        for truth in ([WRONG, ANY] if results.conditions or len(truths) > 7 else truths)
        for when, title in ((FIRST, "first pass"), (LATER, "later"))
    }
    columns |= formats.known(aurocs)
    columns["scored, %"] = [share(one.reading.coverage[one.detector]) for one in lines]
    text = captions.caption(results, *_detection_caption(lines))
    return formats.table("detection", "What weights and scores tell apart", text, columns, numbers)


def _numbers(results: Results, line: DetectorLine) -> Iterator[dict[str, Any]]:
    key: dict[str, Any] = results.key(line.row) | ({"label": ""} if line.trivial else {})
    key |= {"detector": line.detector, "sees_gold": line.gold, "read_by": line.row.label}
    for detector, truth, when in line.reading.tallies:
        if detector == line.detector:
            one = line.auroc(truth, when)
            yield (
                key
                | {"truth": truth, "pass": when, "auroc": one.value, "low": one.low}
                | {"high": one.high, "half_width": one.half_width, "pairs": one.pairs}
                | {"questions": one.questions, "coverage": line.reading.coverage[detector]}
            )


def _detection_caption(lines: list[DetectorLine]) -> Iterator[str]:
    yield (
        "Within-question AUROC ± half-width of its 95% interval: how often a right rationale has "
        "the higher value than one with a wrong answer, or a clean and right one than one with "
        "the fault, of all pairs of the same question, ties as half. 0.5 is chance, and below it "
        "the detector prefers the bad ones. The interval is a bootstrap over questions; training "
        "again would add to it"
    )
    yield (
        "First pass: before any question was read twice. Scored: the share of rationales with a "
        "value; pairs without one are left out. Scores are taken as recorded: one that a method "
        "counts against a rationale, such as its loss, helps where it is below 0.5. Rows whose "
        "weights are always equal are left out"
    )
    sources = dict.fromkeys(one.row.name for one in lines if one.trivial)
    if sources:
        yield (
            "(no method): what anyone could use without one, as read in training "
            f"{', '.join(sources)}: {SHORTNESS}, likelihood (the student's) and agreement (the "
            "question's other rationales with the same answer)"
        )
    gold = dict.fromkeys(one.detector for one in lines if one.gold and one.detector != WEIGHT)
    if gold:
        yield (
            f"{', '.join(gold)} sees the gold answer, and so do weights that are made from it: "
            "their AUROC for wrong answers is partly by construction"
        )


def coverage(results: Results) -> Table | None:
    """For each teacher the share of rationales with each score and the mean weight."""
    found = rationale_stats(results)
    rows = [r for r in results.rows if found[r.label].unequal or found[r.label].scores]
    if not rows or not lengths_known(results):
        return None
    names = list(dict.fromkeys(name for row in rows for name in found[row.label].scores))
    lines = [(row, *line) for row in rows for line in _by_teacher(results, found[row.label])]
    # With conditions the teachers are in the CSV file only.
    shown = [line for line in lines if not line[1] or not results.conditions]
    columns = {
        "method": [row.label for row, _, _ in shown],
        "teacher": [teacher or "all" for _, teacher, _ in shown],
    }
    titles = {"right": "right, %", **{name: f"{name} scored, %" for name in names}}
    titles[WEIGHT] = "weight, %"
    for name, title in titles.items():
        columns[title] = [share(values.get(name)) for _, _, values in shown]
    columns["effective number"] = [decimals(values.get("effective"), 2) for *_, values in shown]
    columns["from equal weights, %"] = [_distance(values.get("distance")) for *_, values in shown]
    fields = [*titles, "effective", "distance"]
    numbers = [
        results.key(row) | {"teacher": teacher} | {name: values.get(name) for name in fields}
        for row, teacher, values in lines
    ]
    frame = pd.DataFrame(numbers).round(12)  # the last digits of a mean are the processor's
    text = captions.caption(
        results,
        "How far weights and scores reach. Right and scored: shares of the teacher's rationales "
        "that were read; a score is missing where the rationale leaves nothing to score, such as "
        "one that gives the answer away in its first step. Weight: of the teacher's rationales "
        "together, mean over questions. Effective number: exp of the entropy of a question's "
        "weights, mean over questions: how many rationales with equal weights it comes to. From "
        "equal weights: the part of the weight that lies elsewhere than with equal weights of all "
        f"the question's rationales, read or not (total variation); below {ACTS:.0%} (†) a row "
        "hardly differs from one that weights nothing",
    )
    return formats.table("coverage", "Weights and scores by teacher", text, columns, frame)


def _distance(value: float | None) -> str:
    """A share as percent, marked where the weights hardly act."""
    return share(value) + (" †" if value is not None and value < ACTS else "")


def _by_teacher(
    results: Results, reading: RationaleStats
) -> Iterator[tuple[str, dict[str, float]]]:
    """The row as a whole (""), then each teacher in the bank's order."""
    whole = {name: reading.coverage[name] for name in reading.scores}
    yield "", whole | {"effective": reading.effective, "distance": reading.distance}
    known = [name for name in results.teachers if name in reading.teachers.index]
    for name in [*known, *(n for n in reading.teachers.index if n not in known)]:
        yield str(name), reading.teachers.loc[name].to_dict()
