"""Results -> curves of retention against gain, a panel a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from compact_bench.analysis.forgetting import CHECKPOINT, SCALE, Point, mean_path, path
from compact_bench.analysis.results import Results, Row
from compact_bench.report.parts import captions
from compact_bench.report.parts.style import STYLE, Picture, render

MOST_PANELS = 30

_COLUMNS = 5

_PANEL = (2.05, 1.75)  # inches

_GREY = "#a9acb0"

_LINES: Mapping[str, tuple[str, str, Any, str]] = {
    CHECKPOINT: ("#0072B2", "o", "-", "over training"),
    SCALE: ("#D55E00", "D", (0, (4, 2)), "over the scale of the change"),
}

_TITLE = 26  # characters of a label that fit above a panel

Paths = Mapping[str, tuple[Point, ...]]  # by kind


def retention_curves(results: Results) -> Picture | None:
    """Retention against gain over training and over the change's scale; None without records.

    With conditions, or more rows than panels, there would be too much to read.
    """
    if results.conditions:
        return None
    paths = {row.label: _paths(results, row) for row in results.rows}
    rows = [row for row in results.rows if paths[row.label]]
    if not rows or len(rows) > MOST_PANELS:
        return None
    reference = results.reference.label if results.reference else ""
    with matplotlib.rc_context(STYLE):
        content = render(_figure(rows, paths, reference))
    against = f"Grey in every panel: {reference}. " if paths.get(reference) else ""
    text = captions.caption(
        results,
        "Old skill kept, mean over forgetting tasks, against what was gained in domain over the "
        "untrained student, on the same items; mean over seeds. Both lines lead from the untrained "
        "student (nothing gained, all kept) to the trained one (large marker): over checkpoints of "
        "the training, and over the share of the trained weights' change that is kept. "
        f"{against}Further up at the same gain is better. Means carry no interval: differences at "
        "equal gain are in the table of matched gain",
    )
    return Picture("retention_curves", "Retention against gain", text, content)


def _paths(results: Results, row: Row) -> Paths:
    found = {kind: mean_path(path(results, row, kind)) for kind in _LINES}
    return {kind: points for kind, points in found.items() if points}


def _figure(rows: Sequence[Row], paths: Mapping[str, Paths], reference: str) -> Figure:
    columns = min(_COLUMNS, len(rows))
    lines = -(-len(rows) // columns)
    size = (max(_PANEL[0] * columns + 0.5, 5.2), _PANEL[1] * lines + 0.75)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    flat = [axis for line in axes for axis in line]
    for axis in flat[len(rows) :]:
        axis.remove()
    for number, (axis, row) in enumerate(zip(flat, rows, strict=False)):
        _panel(axis, paths[row.label], paths.get(reference, {}) if row.label != reference else {})
        short = row.label if len(row.label) <= _TITLE else row.label[: _TITLE - 1] + "…"
        axis.set_title(short, fontsize=8.5)
        if number + columns >= len(rows):
            axis.tick_params(labelbottom=True)
    figure.supxlabel("gained in domain, points", fontsize=9)
    figure.supylabel("old skill kept, %", fontsize=9)
    kinds = [kind for kind in _LINES if any(kind in paths[row.label] for row in rows)]
    figure.legend(handles=_legend(kinds, reference if paths.get(reference) else ""),
                  loc="outside upper center", ncols=4)  # fmt: skip
    return figure


def _panel(axis: Axes, own: Paths, reference: Paths) -> None:
    axis.axhline(100, color="#888888", linewidth=0.8, linestyle=":", zorder=1)
    axis.axvline(0, color="#888888", linewidth=0.8, linestyle=":", zorder=1)
    for kind, points in reference.items():
        _line(axis, points, kind, _GREY, 2)
    for kind, points in own.items():
        _line(axis, points, kind, _LINES[kind][0], 4)
    axis.margins(0.1)
    axis.spines[["top", "right"]].set_visible(False)


def _line(axis: Axes, points: Sequence[Point], kind: str, colour: str, order: int) -> None:
    x, y = [100 * one.gain for one in points], [100 * one.retention for one in points]
    _, marker, style, _ = _LINES[kind]
    axis.plot(x, y, color=colour, linestyle=style, linewidth=1.4, zorder=order)
    axis.plot(x[1:-1], y[1:-1], color=colour, marker=marker, linewidth=0, markersize=3.6,
              zorder=order)  # fmt: skip
    axis.plot(x[-1:], y[-1:], color="black" if colour != _GREY else _GREY, marker="o",
              markersize=6, markeredgecolor="white", linewidth=0, zorder=order + 1)  # fmt: skip


def _legend(kinds: Sequence[str], reference: str) -> list[Line2D]:
    handles = [
        Line2D([], [], color=colour, marker=marker, linestyle=style, markersize=4, label=label)
        for colour, marker, style, label in (_LINES[kind] for kind in kinds)
    ]
    handles.append(
        Line2D([], [], color="black", marker="o", linewidth=0, markersize=6, label="trained")
    )
    if reference:
        handles.append(Line2D([], [], color=_GREY, linewidth=1.6, label=reference))
    return handles
