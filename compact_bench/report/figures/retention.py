"""Reasoning against old skill kept: of trained students, and on their way there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from compact_bench.analysis.forgetting import CHECKPOINT, SCALE, Point, mean_path, path
from compact_bench.analysis.results import Results, Row
from compact_bench.records.parquet import Seed
from compact_bench.report.parts import captions
from compact_bench.report.parts.numbers import scale, titled
from compact_bench.report.parts.style import (
    DASHED,
    OTHER,
    STYLE,
    Look,
    Picture,
    Rendering,
    grid,
    in_legend,
    legend,
    row_handles,
    shown_looks,
    tag,
)

MOST_PANELS = 30
_COLUMNS = 5
_PANEL = (2.05, 1.75)  # inches
_TITLE = 26  # characters of a label that fit above a panel

_GREY = "#a9acb0"
_LINES: Mapping[str, tuple[str, str, Any, str]] = {
    CHECKPOINT: ("#0072B2", "o", "-", "over training"),
    SCALE: ("#D55E00", "D", (0, (4, 2)), "over the scale of the change"),
}

Paths = Mapping[str, tuple[Point, ...]]  # by kind


@rc_context(STYLE)
def tradeoff(results: Results) -> Picture | None:
    """Reasoning accuracy against the share of each old skill that is kept; None without both.

    With conditions there would be too many points to tell apart: `curves` shows them.
    """
    if results.conditions:
        return None
    reasoning = next(iter(results.headlines("reasoning")), None)
    forgetting = results.headlines("forgetting")
    if reasoning is None or not forgetting:
        return None
    panels: list[tuple[str, dict[str, dict[Seed, float]]]] = []
    for measure in forgetting:
        kept = {row.label: results.retention(row, measure) for row in results.rows}
        if np.isfinite([value for by_seed in kept.values() for value in by_seed.values()]).any():
            panels.append((measure.task_title, kept))
    if len(panels) > 1:
        mean = {row.label: results.mean_retention(row) for row in results.rows}
        panels.insert(0, ("mean over forgetting tasks", mean))
    if not panels:
        return None
    titles = (f"{reasoning.task_title}: {titled(reasoning)}", "old skill kept, %")
    size = (3.1, 3.0) if len(panels) > 1 else (4.2, 3.6)
    known = shown_looks(results)
    shown = {
        row.label: known[row.label]
        for row in results.rows
        if row.values.get(reasoning)
        and any(np.isfinite([*kept.get(row.label, {}).values()]).any() for _, kept in panels)
    }
    explained = in_legend(shown)
    figure, axes = grid(len(panels), size, 2, titles, [*explained])
    for axis, (title, kept) in zip(axes, panels, strict=True):
        points = [
            (row.label, scale(reasoning) * value, 100 * kept[row.label].get(seed, np.nan))
            for row in results.rows
            for seed, value in row.values.get(reasoning, {}).items()
        ]
        frame = pd.DataFrame(points, columns=["label", "reasoning", "kept"])
        _scatter(axis, frame.dropna(), shown)
        axis.set_title(title)
    legend(figure, row_handles(explained, 7), [*explained])
    text = captions.caption(
        results,
        "Reasoning after training against old skill kept, (after − chance) / (before − chance). "
        "Large markers: mean over seeds, bars: standard deviation, small markers: single seeds. "
        "Dashed: nothing forgotten. Upper right is better",
        "In colour: the rows that no other beats in both (means), and the row compared to"
        if OTHER in shown.values()
        else "",
    )
    return Picture("tradeoff", "Reasoning against forgetting", text, Rendering(figure))


def _scatter(axis: Axes, points: pd.DataFrame, shown: Mapping[str, Look]) -> None:
    """Percents of every row and seed that have both: columns label, reasoning, kept."""
    axis.axhline(100, color="#888888", linewidth=0.9, linestyle=DASHED, zorder=1)
    for label, own in points.groupby("label", sort=False):
        look, order = shown[label], 3 if shown[label] == OTHER else 4
        seeds = own[["reasoning", "kept"]]
        (x, y), (x_sd, y_sd) = seeds.mean(), seeds.std()
        style = look.style(7.5)
        if len(own) > 1:
            small = style | {"markersize": 0.45 * style["markersize"], "markeredgewidth": 0}
            tag(label, *axis.plot(*seeds.to_numpy().T, linestyle="", alpha=0.45, zorder=2, **small))
        bars = axis.errorbar(
            x, y, xerr=x_sd, yerr=y_sd, linestyle="", elinewidth=1.0, zorder=order, **style
        )
        tag(label, bars)
    axis.margins(0.08)


@rc_context(STYLE)
def retention_curves(results: Results) -> Picture | None:
    """Retention against gain over training and over the change's scale; None without records.

    With conditions, or more rows than panels, there would be too much to read.
    """
    if results.conditions:
        return None
    paths = {
        row.label: {
            kind: points for kind in _LINES if (points := mean_path(path(results, row, kind)))
        }
        for row in results.rows
    }
    rows = [row for row in results.rows if paths[row.label]]
    if not rows or len(rows) > MOST_PANELS:
        return None
    reference = results.reference.label if results.reference else ""
    against = f"Grey in every panel: {reference}. " if paths.get(reference) else ""
    figure = _figure(rows, paths, reference if paths.get(reference) else "")
    text = captions.caption(
        results,
        "Old skill kept, mean over forgetting tasks, against what was gained in domain over the "
        "untrained student, on the same items; mean over seeds. Both lines lead from the untrained "
        "student (nothing gained, all kept) to the trained one (large marker): over checkpoints of "
        "the training, and over the share of the trained weights' change that is kept. "
        f"{against}Further up at the same gain is better. Means carry no interval: differences at "
        "equal gain are in the table of matched gain",
    )
    return Picture("retention_curves", "Retention against gain", text, Rendering(figure))


def _figure(rows: Sequence[Row], paths: Mapping[str, Paths], reference: str) -> Figure:
    columns = min(_COLUMNS, len(rows))
    lines = -(-len(rows) // columns)
    size = (max(_PANEL[0] * columns + 0.5, 5.2), _PANEL[1] * lines + 0.75)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    flat = list(axes.flat)
    for axis in flat[len(rows) :]:
        axis.remove()
    for number, (axis, row) in enumerate(zip(flat, rows, strict=False)):
        for level in (axis.axhline(100), axis.axvline(0)):
            level.set(color="#888888", linewidth=0.8, linestyle=":", zorder=1)
        if reference and row.label != reference:
            for kind, points in paths[reference].items():
                _line(axis, points, kind, _GREY, 2)
        for kind, points in paths[row.label].items():
            _line(axis, points, kind, _LINES[kind][0], 4)
        axis.margins(0.1)
        title = row.label if len(row.label) <= _TITLE else row.label[: _TITLE - 1] + "…"
        axis.set_title(title, fontsize=8.5)
        if number + columns >= len(rows):
            axis.tick_params(labelbottom=True)
    figure.supxlabel("gained in domain, points", fontsize=9)
    figure.supylabel("old skill kept, %", fontsize=9)
    handles = [
        Line2D([], [], color=colour, marker=marker, linestyle=style, markersize=4, label=label)
        for kind, (colour, marker, style, label) in _LINES.items()
        if any(kind in paths[row.label] for row in rows)
    ]
    handles.append(
        Line2D([], [], color="black", marker="o", linewidth=0, markersize=6, label="trained")
    )
    if reference:
        handles.append(Line2D([], [], color=_GREY, linewidth=1.6, label=reference))
    figure.legend(handles=handles, loc="outside upper center", ncols=4)
    return figure


def _line(axis: Axes, points: Sequence[Point], kind: str, colour: str, order: int) -> None:
    x, y = [100 * one.gain for one in points], [100 * one.retention for one in points]
    _, marker, style, _ = _LINES[kind]
    axis.plot(x, y, color=colour, linestyle=style, linewidth=1.4, zorder=order)
    axis.plot(x[1:-1], y[1:-1], color=colour, marker=marker, linewidth=0, markersize=3.6,
              zorder=order)  # fmt: skip
    axis.plot(x[-1:], y[-1:], color="black" if colour != _GREY else _GREY, marker="o",
              markersize=6, markeredgecolor="white", linewidth=0, zorder=order + 1)  # fmt: skip
