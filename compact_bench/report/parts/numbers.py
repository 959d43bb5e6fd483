"""How numbers and measures are printed: one definition for tables, figures and the page."""

from __future__ import annotations

import math
from collections.abc import Sequence

from compact_bench.analysis.detection import Auroc
from compact_bench.analysis.statistics import Difference, Summary
from compact_bench.suite.metrics import Measure

NONE = "–"


def decimals(value: float | None, digits: int = 1, scale: float = 1.0, signed: bool = False) -> str:
    """Print scale * value with so many digits after the point, NONE where it isn't finite.

    >>> decimals(-0.25, 2), decimals(0.25, scale=100, signed=True), decimals(None)
    ('−0.25', '+25.0', '–')
    """
    if value is None or not math.isfinite(value):
        return NONE
    return f"{scale * value:{'+' if signed else ''}.{digits}f}".replace("-", "−")


def spread(
    found: Summary | Difference | Auroc | None,
    digits: int = 1,
    scale: float = 1.0,
    signed: bool | None = None,
) -> str:
    """Print a value ± its spread, alone where the spread is unknown.

    A summary's spread is its standard deviation, that of a difference (printed with its sign unless
    `signed` is False) or of an AUROC the half-width of its 95% interval.
    """
    value = math.nan if found is None else found.value if isinstance(found, Auroc) else found.mean
    if found is None or not math.isfinite(value):
        return NONE
    width = found.sd if isinstance(found, Summary) else found.half_width
    signed = isinstance(found, Difference) if signed is None else signed
    around = f" ± {decimals(width, digits, scale)}" if math.isfinite(width) else ""
    return decimals(value, digits, scale, signed) + around


def share(value: float | None) -> str:
    """Print a share as percent with one decimal, without the sign."""
    return decimals(value, scale=100)


def points(found: Summary | Difference | None) -> str:
    """Print a difference of shares ± its spread, both in points."""
    return spread(found, scale=100, signed=True)


def scale(measure: Measure) -> float:
    """What a value is multiplied with to be printed or drawn."""
    return 100 if measure.shown.percent else 1


def _digits(measure: Measure) -> int:
    """One digit for percents and counts, else three."""
    if measure.shown.digits is not None:
        return measure.shown.digits
    return 1 if measure.shown.percent or measure.shown.better == 0 else 3


def number(value: float, measure: Measure, signed: bool = False) -> str:
    """Print a value of a measure: percent with one decimal, else three decimals."""
    return decimals(value, _digits(measure), scale(measure), signed)


def with_spread(found: Summary | Difference | None, measure: Measure) -> str:
    """Print a measure's mean ± sd, or a difference ± half-width of its 95% interval."""
    return spread(found, _digits(measure), scale(measure))


def interval(low: float, high: float, measure: Measure) -> str:
    """Print an interval of differences by its ends."""
    if not math.isfinite(low):
        return NONE
    return " to ".join(number(end, measure, signed=True) for end in (low, high))


def lowest_to_highest(texts: Sequence[str]) -> str:
    """Print a range by its ends, once where they read alike."""
    return " to ".join(dict.fromkeys(texts))


def p_value(p: float) -> str:
    """Print a p value.

    >>> p_value(0.0321), p_value(0.00004)
    ('0.032', '< 0.001')
    """
    return "< 0.001" if p < 0.001 else decimals(p, 3)


def compact(value: float) -> str:
    """Print a count or cost in three digits.

    >>> compact(1234567.0), compact(2.5e15), compact(42.0)
    ('1.23M', '2.50e15', '42')
    """
    if not math.isfinite(value):
        return NONE
    for limit, divisor, letter in ((1e12, 1e9, "G"), (1e9, 1e6, "M"), (1e6, 1e3, "k")):
        if limit / 1e3 <= abs(value) < limit:
            return f"{value / divisor:.3g}{letter}" if abs(value) >= divisor else f"{value:.3g}"
    if abs(value) >= 1e12:
        return f"{value:.2e}".replace("e+", "e")
    return f"{value:.0f}" if value == int(value) else f"{value:.3g}"


def titled(measure: Measure, unit: str = "%") -> str:
    """A measure's title with its unit: that of values in percent, or "points" of differences."""
    return measure.shown.title + (f", {unit}" if measure.shown.percent else "")


def heading(measure: Measure) -> str:
    """Head a column: task, metric, unit and which way is better."""
    arrow = {1: " ↑", -1: " ↓", 0: ""}[measure.shown.better]
    unit = ", %" if measure.shown.percent else ""
    extra = "" if measure.filter in ("strict", "none") else f" ({measure.filter})"
    return f"{measure.task_title}: {measure.shown.title}{extra}{unit}{arrow}"
