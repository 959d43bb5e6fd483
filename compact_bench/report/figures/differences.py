"""Figures of differences: forest plots of rows and of rungs, the ablation's heat map."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import seaborn
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from compact_bench.analysis import claims
from compact_bench.analysis.results import Results
from compact_bench.analysis.statistics import Difference
from compact_bench.report.parts import captions
from compact_bench.report.parts.numbers import scale, titled
from compact_bench.report.parts.style import STYLE, Picture, Rendering, label_width, tag
from compact_bench.report.tables import changes
from compact_bench.report.tables.changes import BEFORE, START, Change, Column, Ladder
from compact_bench.suite.metrics import Measure

MOST_LADDERS = 4  # one below the other
_SHOWN = {BEFORE: ("o", "#0072B2", -0.13), START: ("D", "#8a8a8a", 0.17)}
CLEAR, UNCLEAR = "#0072B2", "#a9acb0"  # an interval without 0, and one that holds it
_DEEPEST = 2.7  # half-widths of the darkest colour


@rc_context(STYLE)
def differences(results: Results) -> Picture | None:
    """Every row's difference to the reference row, with 95% intervals; None without intervals.

    With conditions there would be too many rows: `curves` shows them.
    """
    if results.conditions or results.reference is None:
        return None
    found = {
        measure: {
            row.label: one
            for row in results.rows
            if (one := results.difference(row, measure)) and math.isfinite(one.half_width)
        }
        for measure in results.main_measures
    }
    if not any(found.values()):
        return None
    figure = _rows(results, found)
    text = captions.caption(
        results,
        captions.differences(results, None),
        "Points are mean differences, bars their intervals: grey where they hold 0, hollow where "
        "they don't but the correction leaves no claim, filled where it does. The shaded side of 0 "
        "is the better one. Rows without an interval are left out",
    )
    return Picture(
        "differences", f"Differences to {results.reference.name}", text, Rendering(figure)
    )


def _rows(results: Results, found: Mapping[Measure, Mapping[str, Difference]]) -> Figure:
    labels = [r.label for r in results.rows if any(r.label in ones for ones in found.values())]
    size = (label_width(labels) + 2.2 * len(found), 1.35 + 0.21 * len(labels))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, len(found), squeeze=False, sharey=True)[0]
    for axis, (measure, ones) in zip(axes, found.items(), strict=True):
        ends = [0.0]
        for label, one in ones.items():
            value, width = scale(measure) * one.mean, scale(measure) * one.half_width
            ends += [value - width, value + width]
            claimed = (label, measure) in claims.family(results).claims
            drawn = axis.errorbar(
                value, labels.index(label), xerr=width, fmt="o", markersize=4, elinewidth=1.2,
                color=CLEAR if one.clear else UNCLEAR, zorder=3,
                markerfacecolor=None if claimed or not one.clear else "white",
            )  # fmt: skip
            tag(label, drawn)
        _sides(axis, measure.shown.better, min(ends), max(ends))
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.set_xlabel(f"{measure.task_title}:\n{titled(measure, 'points')}")
        axis.set_ylim(len(labels) - 0.5, -0.5)  # in the table's order
        axis.set_yticks(range(len(labels)), labels)
    figure.legend(handles=_states(), loc="outside lower center", ncols=3, fontsize=8)
    return figure


def _states() -> list[Line2D]:
    """What the three ways to draw a difference say."""
    looks = {
        "survives the correction": (CLEAR, CLEAR),
        "interval excludes 0, no claim": (CLEAR, "white"),
        "interval holds 0": (UNCLEAR, UNCLEAR),
    }
    return [
        Line2D([], [], color=line, marker="o", markersize=4, markerfacecolor=face, label=label)
        for label, (line, face) in looks.items()
    ]


@rc_context(STYLE)
def ladder(results: Results) -> Picture | None:
    """Each rung's difference to the one before it and to the first, with 95% intervals."""
    found, measures = changes.ladders(results)[:MOST_LADDERS], changes.ladder_measures(results)
    if not found or not measures:
        return None
    every = [one for rungs in found for m in measures for one in changes.comparisons(rungs, m)]
    text = captions.caption(
        results,
        *changes.ladder_caption(found[0], every, shares=False),
        "Points are mean differences, bars their intervals; the shaded side of 0 is the better one",
    )
    figure = _forest(results, found, measures)
    return Picture("ladder", "The ladder: what each rung adds", text, Rendering(figure))


def _forest(results: Results, found: Sequence[Ladder], measures: Sequence[Measure]) -> Figure:
    aside = label_width(row.name for one in found for row in one.rows)
    height = sum(1.15 + 0.42 * len(one.rows) for one in found) + 0.3
    size = (aside + 3.3 * len(measures), height)
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08))
    axes = figure.subplots(
        len(found), len(measures), squeeze=False, sharey="row", sharex="col",
        height_ratios=[len(one.rows) for one in found],
    )  # fmt: skip
    for line, one in zip(axes, found, strict=True):
        for axis, measure in zip(line, measures, strict=True):
            _rungs(axis, one, measure)
        if results.conditions:
            line[0].set_title(one.rungs[0].condition)
    for axis, measure in zip(axes[-1], measures, strict=True):
        axis.set_xlabel(f"Δ {measure.task_title}: {titled(measure, 'points')}")
    first = found[0].rungs[0].name
    names = {BEFORE: "to the rung before", START: f"to {first}"}
    handles = [
        Line2D([], [], color=colour, marker=marker, markersize=6, linewidth=1.4, label=names[key])
        for key, (marker, colour, _) in _SHOWN.items()
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=2)
    return figure


def _rungs(axis: Axes, ladder: Ladder, measure: Measure) -> None:
    rows = ladder.rows[1:]
    place = {row.label: number for number, row in enumerate(rows)}
    ends = [0.0]
    drawn = [
        (one.row.label, one.found, *_SHOWN[one.against])
        for one in changes.comparisons(ladder, measure)
        if one.found is not None and one.against in _SHOWN
    ]
    for label, difference, marker, colour, shift in drawn:
        alone = sum(other == label for other, *_ in drawn) == 1
        value = scale(measure) * difference.mean
        width = scale(measure) * np.nan_to_num(difference.half_width)
        ends += [value - width, value + width]
        axis.errorbar(
            value, place[label] + (0.0 if alone else shift), xerr=width or None, fmt=marker,
            color=colour, markersize=5.5, elinewidth=1.4, capsize=2.5, zorder=3,
        )  # fmt: skip
    _sides(axis, measure.shown.better, min(ends), max(ends))
    axis.xaxis.set_major_locator(MaxNLocator(5))
    axis.set_ylim(len(rows) - 0.5, -0.5)  # the plainest at the top
    axis.set_yticks(range(len(rows)), [row.name for row in rows])
    axis.grid(axis="y", visible=False)


def _sides(axis: Axes, better: int, low: float, high: float) -> None:
    """Zero, the better side of it, and limits that leave room on both sides."""
    room = 0.25 * (high - low) or 1.0
    low, high = min(low - 0.3 * room, -room), max(high + 0.3 * room, room)
    if not axis.get_autoscalex_on():  # a panel above has set the limits that both share
        low, high = min(low, axis.get_xlim()[0]), max(high, axis.get_xlim()[1])
    axis.axvline(0, color="#222222", linewidth=1.0, zorder=2)
    if better:
        far = 100 * max(-low, high)
        axis.axvspan(0, better * far, color="#009E73", alpha=0.07, linewidth=0, zorder=0)
        axis.annotate(
            "better →" if better > 0 else "← better", (0.5 + better * 0.49, 1.01),
            xycoords="axes fraction", ha="right" if better > 0 else "left", va="bottom",
            color="#00684a", fontsize=8.5,
        )  # fmt: skip
    axis.set_xlim(low, high)


@rc_context(STYLE)
def ablation(results: Results) -> Picture | None:
    """Changes x measures: the difference to the base row, coloured by how clear it is."""
    changed = changes.changes(results)
    if not changed:
        return None
    figure = _heat(changed, changes.ablation_columns(results))
    text = captions.caption(
        results,
        *changes.ablation_caption(results),
        "Colour: the difference over the half-width of its interval, blue where the change is "
        "better and red where it is worse; bold and ∗ where the interval excludes 0; grey where "
        "there is no interval. Numbers: points for %, else the measure's own unit",
    )
    base = changes.base_label(results)
    return Picture("ablation", f"What each change of {base} does", text, Rendering(figure))


def heat(column: Column, found: Difference | None) -> float:
    """The difference over the half-width of its interval, positive where the change is better."""
    if found is None or not math.isfinite(found.half_width):
        return math.nan
    if not found.half_width:
        return column.better * math.copysign(_DEEPEST, found.mean) if found.mean else 0.0
    return column.better * found.mean / found.half_width


def _heat(changed: Sequence[Change], columns: Sequence[Column]) -> Figure:
    found = [[(column, column.difference(change)) for column in columns] for change in changed]
    values = np.array([[heat(*pair) for pair in line] for line in found])
    labels = [change.row.label for change in changed]
    size = (label_width(labels) + 1.12 * len(columns) + 0.9, 1.5 + 0.36 * len(changed))
    figure = Figure(figsize=size, layout="constrained")
    axis = figure.subplots()
    seaborn.heatmap(
        values, ax=axis, cmap="RdBu", vmin=-_DEEPEST, vmax=_DEEPEST, linewidths=0.75,
        xticklabels=[wrapped(column.title) for column in columns], yticklabels=labels,
        cbar_kws={"ticks": [-2, -1, 0, 1, 2], "fraction": 0.06, "pad": 0.02,
                  "label": "half-widths"},
    )  # fmt: skip
    for y, line in enumerate(found):
        for x, (column, one) in enumerate(line):
            clear = one is not None and math.isfinite(one.half_width) and one.clear
            text = column.text(one).split(" ")[0] + (" ∗" if clear else "")
            dark = abs(values[y, x]) > 0.62 * _DEEPEST
            axis.text(
                x + 0.5, y + 0.5, text, ha="center", va="center", fontsize=8.5,
                color="white" if dark else "#1c1e21", fontweight="bold" if clear else "normal",
            )  # fmt: skip
    axis.set_facecolor("#ececec")  # of cells without an interval
    axis.grid(visible=False)
    axis.tick_params(length=0, labeltop=True, labelbottom=False, labelrotation=0)
    figure.axes[1].set_yticklabels(["−2: worse", "−1", "0", "1", "2: better"])
    return figure


def wrapped(title: str, width: int = 15) -> str:
    """A heading over several lines, the task on a line of its own."""
    parts = title.replace(": ", ":\n").split("\n")
    fill = partial(textwrap.fill, break_long_words=False, break_on_hyphens=False)
    return "\n".join(fill(part, width) for part in parts)
