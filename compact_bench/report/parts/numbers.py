"""How numbers are printed: one definition for tables, figures and the page."""

from __future__ import annotations

import math

from compact_bench.analysis.detection import Auroc
from compact_bench.analysis.statistics import Difference, Summary
from compact_bench.suite.metrics import Measure

NONE = "–"


def number(value: float, measure: Measure, signed: bool = False) -> str:
    """Print a value of a measure: percent with one decimal, else three decimals."""
    if not math.isfinite(value):
        return NONE
    digits = measure.shown.digits
    if digits is None:
        digits = 1 if measure.shown.percent or measure.shown.better == 0 else 3
    text = f"{value * (100 if measure.shown.percent else 1):{'+' if signed else ''}.{digits}f}"
    return text.replace("-", "−")


def with_sd(summary: Summary, measure: Measure) -> str:
    """Print mean ± sd, or the value alone where there is one seed."""
    if not summary.n:
        return NONE
    spread = f" ± {number(summary.sd, measure)}" if summary.n > 1 else ""
    return number(summary.mean, measure) + spread


def with_half_width(found: Difference | None, measure: Measure) -> str:
    """Print a difference ± half-width of its 95% interval, or the difference alone."""
    if found is None:
        return NONE
    interval = "" if math.isnan(found.half_width) else f" ± {number(found.half_width, measure)}"
    return number(found.mean, measure, signed=True) + interval


def p_value(p: float) -> str:
    """Print a p value.

    >>> p_value(0.0321), p_value(0.00004)
    ('0.032', '< 0.001')
    """
    if not math.isfinite(p):
        return NONE
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def share(value: float) -> str:
    """Print a share as percent with one decimal, without the sign."""
    return f"{100 * value:.1f}" if value is not None and math.isfinite(value) else NONE


def share_with_half_width(found: Difference | None) -> str:
    """Print a share ± half-width of its 95% interval, both as percent."""
    if found is None:
        return NONE
    return f"{share(found.mean)} ± {share(found.half_width)}".replace("-", "−")


def points(found: Difference | None) -> str:
    """Print a difference of shares ± half-width of its 95% interval, both in points."""
    if found is None or not math.isfinite(found.mean):
        return NONE
    spread = f" ± {share(found.half_width)}" if math.isfinite(found.half_width) else ""
    return f"{100 * found.mean:+.1f}{spread}".replace("-", "−")


def auroc_text(found: Auroc | None) -> str:
    """Print an AUROC ± half-width of its 95% interval."""
    if found is None or not math.isfinite(found.value):
        return NONE
    spread = f" ± {found.half_width:.2f}" if math.isfinite(found.half_width) else ""
    return f"{found.value:.2f}{spread}"


def signed(found: Difference | None) -> str:
    """Print a difference between numbers without a unit ± half-width of its 95% interval."""
    if found is None or not math.isfinite(found.mean):
        return NONE
    spread = f" ± {found.half_width:.2f}" if math.isfinite(found.half_width) else ""
    return f"{found.mean:+.2f}{spread}".replace("-", "−")


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


def heading(measure: Measure) -> str:
    """Head a column: task, metric, unit and which way is better."""
    arrow = {1: " ↑", -1: " ↓", 0: ""}[measure.shown.better]
    unit = ", %" if measure.shown.percent else ""
    extra = "" if measure.filter in ("strict", "none") else f" ({measure.filter})"
    return f"{measure.task_title}: {measure.shown.title}{extra}{unit}{arrow}"
