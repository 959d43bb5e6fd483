"""Numbers as tables print them: digits, signs, spreads and ranges."""

from __future__ import annotations

import math

import pytest

from compact_bench.analysis.detection import Auroc
from compact_bench.analysis.statistics import Difference, Summary
from compact_bench.report.parts import numbers
from compact_bench.suite.metrics import Measure

ACCURACY = Measure("in_domain", "accuracy", "strict", "reasoning")
NLL = Measure("in_domain", "marginal_nll", "none", "reasoning")
NAN = math.nan


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "0"), (999.0, "999"), (1.234e6, "1.23M"), (4.5e9, "4.5G"), (2.5e15, "2.50e15"),
     (31.42, "31.4"), (float("nan"), "–"), (1850.0, "1.85k")],
)  # fmt: skip
def test_counts_are_short(value: float, shown: str) -> None:
    assert numbers.compact(value) == shown


@pytest.mark.parametrize(
    ("found", "measure", "shown"),
    [
        (Summary(0.5, 0.0123, 3), ACCURACY, "50.0 ± 1.2"),
        (Summary(0.5, NAN, 1), ACCURACY, "50.0"),
        (Summary(NAN, NAN, 0), ACCURACY, "–"),
        (Summary(-1.5, 0.25, 2), NLL, "−1.500 ± 0.250"),
    ],
)
def test_a_mean_has_its_sd(found: Summary, measure: Measure, shown: str) -> None:
    assert numbers.with_spread(found, measure) == shown


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        (Difference(-0.021, 0.0349), "−2.1 ± 3.5"),
        (Difference(0.021), "+2.1"),
        (Difference(NAN), "–"),
        (None, "–"),
    ],
)
def test_a_difference_has_its_sign_and_half_width(found: Difference | None, shown: str) -> None:
    assert numbers.with_spread(found, ACCURACY) == numbers.points(found) == shown


def test_an_auroc_has_no_sign_but_its_half_width() -> None:
    assert numbers.spread(Auroc(0.75, 0.5, 0.8), 2) == "0.75 ± 0.15"
    assert numbers.spread(Auroc(0.75), 2) == "0.75"
    assert numbers.spread(Auroc(NAN), 2) == "–"


def test_ranges_have_two_ends_unless_these_read_alike() -> None:
    assert numbers.interval(-0.01, 0.02, ACCURACY) == "−1.0 to +2.0"
    assert numbers.interval(NAN, NAN, ACCURACY) == "–"
    assert numbers.lowest_to_highest(["1.0", "1.0"]) == "1.0"


def test_a_heading_has_unit_and_direction() -> None:
    assert numbers.heading(ACCURACY) == "in domain: accuracy, % ↑"
    assert numbers.heading(NLL) == "in domain: answer NLL, nats ↓"
    assert numbers.titled(ACCURACY, "points") == "accuracy, points"
