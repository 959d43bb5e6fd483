"""What faults cost under each condition, and the map: which rows make up for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from compact_bench.analysis.headroom import (
    HARM,
    PRICE,
    RECOVERABLE,
    Headroom,
    ScoreDetection,
    detectors,
    fault_weights,
    headline,
    headrooms,
    methods,
    recovery,
    weighting,
)
from compact_bench.analysis.results import Results
from compact_bench.analysis.statistics import NAN, Difference
from compact_bench.report.parts import captions, formats
from compact_bench.report.parts.formats import Table
from compact_bench.report.parts.numbers import NONE, spread, with_spread
from compact_bench.suite.metrics import Measure

GAPS = {
    RECOVERABLE: "recoverable ({truth} − {reference})",
    HARM: "harm ({without_faults} − {reference})",
    PRICE: "price of filtering ({without_faults} − {truth})",
}


def headroom(results: Results) -> Table | None:
    """By condition recoverable, harm and the price of filtering; None without these rows."""
    found, measure = headrooms(results), headline(results)
    if not found or measure is None:
        return None
    rows = {"reference": "compare_to", "truth": "regret_to", "without_faults": "without_faults"}
    names = {row: str(results.suite[key]) for row, key in rows.items()}
    columns = {"condition": [one.condition or "all data" for one in found]}
    # What may be gained stands first: a narrow page has room for a few columns.
    for gap, title in GAPS.items():
        columns[title.format(**names)] = [with_spread(one.gaps[gap], measure) for one in found]
    for role, name in names.items():
        values = [getattr(one, role) for one in found]
        columns[f"{name}, %" if measure.shown.percent else name] = [
            with_spread(row.summary(measure), measure) if row else NONE for row in values
        ]
    numbers = [
        {"condition": one.condition, "gap": gap} | vars(one.gaps[gap] or Difference(NAN))
        for one in found
        for gap in GAPS
    ]
    text = captions.caption(
        results,
        f"{measure.task_title}: {measure.shown.title}, mean ± standard deviation over seeds, and "
        f"differences in {'points' if measure.shown.percent else 'its unit'}",
        f"{names['truth']} reads only rationales that are right and without a fault, "
        f"{names['without_faults']} all of them without their faults. Conditions whose recoverable "
        "difference isn't clear of 0 come first: there nothing is to be gained by weights",
        captions.intervals([one for row in found for one in row.gaps.values()], "conditions"),
    )
    return formats.table("headroom", "What faults cost", text, columns, pd.DataFrame(numbers))


def recovery_map(results: Results) -> Table | None:
    """Rows x conditions: what each recovers; then what scores detect and where weights go.

    None with fewer than two conditions, or without the rows that `headroom` needs.
    """
    found, measure = headrooms(results), headline(results)
    if len(found) < 2 or measure is None or not methods(results):
        return None
    lines = {RECOVERABLE: [with_spread(one.gaps[RECOVERABLE], measure) for one in found]}
    for name in methods(results):
        lines[name] = [recovered(results, one, name, measure) for one in found]
    for score in scores(results):
        every = [detectors(results, one.condition).get(score) for one in found]
        lines[f"AUROC of {score}"] = [spread(one.auroc, 2) if one else NONE for one in every]
    for name in weighting(results):
        ratios = [fault_weights(results, one.condition).get(name) for one in found]
        lines[f"weight on faults: {name}"] = [spread(one, 2, signed=False) for one in ratios]
    places = [one.condition for one in found]
    columns = {"row": [*lines]}
    columns |= {place: [line[i] for line in lines.values()] for i, place in enumerate(places)}
    text = captions.caption(results, *map_caption(results))
    numbers = pd.DataFrame([*_numbers(results, found, measure)], columns=_FIELDS)
    title = "When weighting teachers pays, and which score"
    return formats.table("map", title, text, columns, numbers)


def scores(results: Results) -> list[str]:
    """The detectors of all conditions by name."""
    every = (detectors(results, one.condition) for one in headrooms(results))
    return list(dict.fromkeys(name for found in every for name in found))


def recovered(results: Results, place: Headroom, name: str, measure: Measure) -> str:
    """A share with its interval, or the difference in brackets; * where it may be claimed."""
    found = recovery(results, place, name)
    if found is None:
        return NONE
    mark = "*" if found.marked else ""
    if found.share is None:
        return f"({with_spread(found.difference, measure)}){mark}"
    return spread(found.share, 2, signed=False) + mark


def map_caption(results: Results) -> Iterator[str]:
    """How to read the map, as a table and as a figure."""
    measure = headline(results)
    assert measure is not None
    unit = "points" if measure.shown.percent else "its unit"
    reference, truth = results.suite["compare_to"], results.suite["regret_to"]
    yield (
        f"Share of what could be gained: (row − {reference}) / ({truth} − {reference}) in "
        f"{measure.task_title} {measure.shown.title}, ± half-width of the 95% interval (delta "
        f"method on the crossed test): 1 gains as much as {truth}, 0 as {reference}. In brackets: "
        f"the difference to {reference} in {unit}, where nothing is clearly to be gained (the "
        "conditions that come first). * survives Holm's correction with the main table"
    )
    yield (
        "AUROC: how often a right rationale without a fault scores higher than a faulty one of "
        "the same question; 0.5 is chance. Weight on faults: over what equal weights would give "
        "them, mean over seeds; 1 is no different from equal weights, 0 reads none"
    )


_FIELDS = ["condition", "has_headroom", "kind", "name", "value", "half_width", "low", "high", "p",
           "p_holm", "claim", "read_by"]  # fmt: skip


def _numbers(
    results: Results, found: tuple[Headroom, ...], measure: Measure
) -> Iterator[dict[str, Any]]:
    """A line a number, unrounded. kind: gap, share, difference, auroc or weight."""
    for one in found:
        key: dict[str, Any] = {"condition": one.condition, "has_headroom": one.clear}
        for gap, difference in one.gaps.items():
            yield key | {"kind": "gap", "name": gap} | _ends(difference)
        for name in methods(results):
            if (line := recovery(results, one, name)) is None:
                continue
            claim = {"p_holm": line.p, "claim": line.marked}
            yield key | {"kind": "difference", "name": name} | _ends(line.difference) | claim
            if line.share is not None:
                yield key | {"kind": "share", "name": name} | _ends(line.share)
        for name, score in detectors(results, one.condition).items():
            yield key | {"kind": "auroc", "name": name} | _detected(score)
        for name, ratio in fault_weights(results, one.condition).items():
            yield key | {"kind": "weight", "name": name} | _ends(ratio)


def _ends(found: Difference | None) -> dict[str, float]:
    one = found or Difference(NAN)
    low, high = one.mean - one.half_width, one.mean + one.half_width
    return {"value": one.mean, "half_width": one.half_width, "low": low, "high": high, "p": one.p}


def _detected(score: ScoreDetection) -> dict[str, Any]:
    one = score.auroc
    return {"value": one.value, "half_width": one.half_width, "low": one.low, "high": one.high,
            "read_by": score.read_by.name}  # fmt: skip
