"""Curves over the conditions of the training data, a panel a series."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from compact_bench.analysis.results import Results, Row
from compact_bench.analysis.statistics import Summary, summarise
from compact_bench.analysis.weights import rationale_stats
from compact_bench.report.parts import captions
from compact_bench.report.parts.numbers import scale, titled
from compact_bench.report.parts.style import (
    DASHED,
    OTHER,
    STYLE,
    UNTRAINED,
    Look,
    Picture,
    Rendering,
    in_legend,
    legend,
    legend_width,
    row_handles,
    shown_looks,
    tag,
)
from compact_bench.report.tables.changes import ladder_measures

MOST_COLUMNS = 4
_PANEL = (2.7, 2.3)  # inches
_MOST_TICKS = 7

Series = dict[str, dict[str, float]]  # title -> condition -> its place on the axis, ascending


def series(results: Results) -> Series:
    """The series of the suite's conditions that have a place, in the suite's order."""
    found: Series = {}
    for one in results.conditions:
        if one.get("x") is not None:
            places = found.setdefault(str(one.get("series") or ""), {})
            places[str(one["name"])] = float(one["x"])
    return {
        title: dict(sorted(places.items(), key=lambda pair: pair[1]))
        for title, places in found.items()
    }


@rc_context(STYLE)
def curves(results: Results) -> Picture | None:
    """Reasoning accuracy and the answer's NLL against the conditions' place; None without."""
    found, measures = series(results), ladder_measures(results)
    if not found or not any(row.values.get(m) for m in measures for row in results.rows):
        return None
    panels = [
        PanelRow(titled(measure), partial(Row.summary, measure=measure), scale(measure))
        for measure in measures
    ]
    figure = _figure(results, found, panels)
    untrained = ", ".join(row.name for row in _untrained(results))
    text = captions.caption(
        results,
        f"{measures[0].task_title.capitalize()} against {_axis(results)}, a column "
        "of panels for each series of conditions. Points: mean over seeds; bars: standard "
        "deviation over seeds, no interval. Points are shifted sideways a little where they would "
        "cover each other",
        f"Dashed: {untrained}, the same under every condition" if untrained else "",
    )
    return Picture("curves", f"Reasoning against {_axis(results)}", text, Rendering(figure))


@rc_context(STYLE)
def corrupted_weight(results: Results) -> Picture | None:
    """What weight spoilt rationales get, over what equal weights would give them."""
    corrupts = {str(c["name"]): c.get("data", {}).get("corrupt") or {} for c in results.conditions}
    spoilt = {name for name, shares in corrupts.items() if any(shares.values())}
    found = {title: places for title, places in series(results).items() if spoilt & set(places)}
    known = rationale_stats(results) if found else {}

    def value(row: Row) -> Summary:
        return summarise(list(known[row.label].corrupted.values()))

    if not any(value(row).n for row in results.rows if row.label in known):
        return None
    lines = PanelRow("weight over equal share", value, 1, levels=(0.0, 1.0))
    figure = _figure(results, found, [lines])
    text = captions.caption(
        results,
        "Weight given to the rationales that were spoilt on purpose, over what equal weights of "
        "all teachers' rationales would give them: 1 where they are not told apart, 0 where they "
        "are ignored. Mean over questions, passes and seeds; bars: standard deviation over seeds",
    )
    return Picture("corrupted_weight", "Weight of spoilt rationales", text, Rendering(figure))


def _axis(results: Results) -> str:
    return str(results.suite.get("axis") or "x")


def _untrained(results: Results) -> list[Row]:
    """Rows without a condition: they hold for every one."""
    return [row for row in results.rows if not row.condition and row.done]


@dataclass(frozen=True)
class PanelRow:
    """One row of panels: what is drawn of each row, in which unit, and levels to mark."""

    label: str
    value: Callable[[Row], Summary]
    scale: float
    levels: tuple[float, ...] = ()


def _figure(results: Results, found: Series, lines: Sequence[PanelRow]) -> Figure:
    """Columns are series, rows are kinds of lines; more series than columns start a new block."""
    columns = -(-len(found) // -(-len(found) // MOST_COLUMNS))  # blocks of about equal size
    panels = [*found.items()]
    blocks = [panels[at : at + columns] for at in range(0, len(panels), columns)]
    known = shown_looks(results)
    shown = {
        row.name: known[row.label]
        for row in results.rows
        if any(row.condition in places for places in found.values())
        and any(line.value(row).n for line in lines)
    }
    count = len(blocks) * len(lines)
    explained = in_legend(shown)
    size = (_PANEL[0] * columns + legend_width([*explained]), _PANEL[1] * count + 0.2)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(count, columns, squeeze=False)
    for number, line in enumerate(lines):
        rows = axes[number :: len(lines)]
        for row, block in zip(rows, blocks, strict=True):
            row[0].set_ylabel(line.label)
            for axis, (title, places) in zip(row, block, strict=False):
                if axis is not rows[0][0]:
                    axis.sharey(rows[0][0])
                _panel(axis, results, places, line, shown)
                axis.set_title(title if number == 0 else "")
                axis.set_xlabel(_axis(results) if number == len(lines) - 1 else "")
    for axis in axes.flat:
        if not axis.has_data():
            axis.remove()
    handles = row_handles(explained, 6.5, linewidth=1.6)
    handles += [
        Line2D([], [], color=UNTRAINED, linewidth=1.0, linestyle=DASHED, label=row.name)
        for row in _untrained(results)
        if any(line.value(row).n for line in lines)
    ]
    legend(figure, handles, [*explained])
    return figure


def _panel(
    axis: Axes,
    results: Results,
    places: Mapping[str, float],
    line: PanelRow,
    shown: Mapping[str, Look],
) -> None:
    ticks = np.unique([*places.values()])
    # Lines stand side by side, so that bars of equal means don't hide each other.
    room = min(0.06 * (ticks[-1] - ticks[0]), 0.35 * min(np.diff(ticks), default=0.0))
    shifts = np.linspace(-room / 2, room / 2, len(shown)) if len(shown) > 1 else [0.0]
    for level in line.levels:
        axis.axhline(level, color="#888888", linewidth=0.9, linestyle=":", zorder=1)
    dashed = {"color": UNTRAINED, "linewidth": 1.0, "linestyle": DASHED, "zorder": 1}
    for row in _untrained(results):
        if line.value(row).n:
            axis.axhline(line.scale * line.value(row).mean, **dashed)
    for shift, (name, look) in zip(shifts, shown.items(), strict=True):
        rows = {row.condition: row for row in results.rows if row.name == name}
        points = [(x, line.value(rows[c])) for c, x in places.items() if c in rows]
        points = [(x, found) for x, found in points if found.n]
        if not points:
            continue
        x = np.array([place for place, _ in points]) + shift
        y = line.scale * np.array([found.mean for _, found in points])
        sd = line.scale * np.nan_to_num([found.sd for _, found in points])
        style = look.style(6) | {"linewidth": 1.6, "elinewidth": 1.0}
        tag(name, axis.errorbar(x, y, yerr=sd, zorder=2.5 if look == OTHER else 3, **style))
    if len(ticks) <= _MOST_TICKS:
        axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    margin = 0.08 * (ticks[-1] - ticks[0]) or 0.5
    if math.isfinite(margin):
        axis.set_xlim(ticks[0] - margin, ticks[-1] + margin)
