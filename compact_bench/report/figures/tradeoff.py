"""Results -> figures: reasoning against forgetting, and weights by teacher over training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from compact_bench.analysis.results import Results
from compact_bench.records.joining import Seed
from compact_bench.report.parts import captions
from compact_bench.report.parts.style import (
    STYLE,
    Picture,
    grid,
    legend_columns,
    looks,
    render,
)
from compact_bench.suite.metrics import Measure


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
    with matplotlib.rc_context(STYLE):
        unit = ", %" if reasoning.shown.percent else ""
        titles = (f"{reasoning.task_title}: {reasoning.shown.title}{unit}", "old skill kept, %")
        size = (3.1, 3.0) if len(panels) > 1 else (4.2, 3.6)
        shown = [
            row.label
            for row in results.rows
            if row.values.get(reasoning) and any(kept.get(row.label) for _, kept in panels)
        ]
        figure, axes = grid(len(panels), size, 2, titles, shown)
        for axis, (title, kept) in zip(axes, panels, strict=True):
            _scatter(axis, results, reasoning, kept)
            axis.set_title(title)
        _legend(figure, results, shown)
        content = render(figure)
    text = captions.caption(
        results,
        "Reasoning after training against old skill kept, (after − chance) / (before − chance). "
        "Large markers: mean over seeds, bars: standard deviation, small markers: single seeds. "
        "Dashed: nothing forgotten. Upper right is better",
    )
    return Picture("tradeoff", "Reasoning against forgetting", text, content)


def _scatter(
    axis: Axes, results: Results, reasoning: Measure, kept: Mapping[str, Mapping[Seed, float]]
) -> None:
    scale = 100 if reasoning.shown.percent else 1
    axis.axhline(100, color="#888888", linewidth=0.9, linestyle=(0, (5, 3)), zorder=1)
    for row in results.rows:
        look = looks(results)[row.label]
        gained = row.values.get(reasoning, {})
        points = [(scale * gained[s], 100 * kept[row.label].get(s, np.nan)) for s in gained]
        points = [point for point in points if np.isfinite(point).all()]
        if not points:
            continue
        x, y = np.array(points).T
        style: dict[str, Any] = {"color": look.colour, "marker": look.marker, "linewidth": 0}
        if len(x) > 1:
            axis.plot(x, y, markersize=3.6, alpha=0.45, markeredgewidth=0, zorder=2, **style)
            spread = {"xerr": x.std(ddof=1), "yerr": y.std(ddof=1)}
            axis.errorbar(
                x.mean(), y.mean(), **spread, fmt="none", ecolor=look.colour, elinewidth=1.0,
                alpha=0.7, zorder=3,
            )  # fmt: skip
        size = 11 if look.marker == "*" else 7.5
        axis.plot(
            x.mean(), y.mean(), markersize=size, markeredgecolor="white", markeredgewidth=0.8,
            zorder=4, **style,
        )  # fmt: skip
    axis.margins(0.08)


def _legend(figure: Figure, results: Results, labels: Sequence[str]) -> None:
    """A legend beside the panels: with ten rows and more, labels at the points would overlap."""
    handles = [
        Line2D(
            [],
            [],
            linewidth=0,
            color=look.colour,
            marker=look.marker,
            label=label,
            markersize=10 if look.marker == "*" else 7,
            markeredgecolor="white",
        )
        for label, look in looks(results).items()
        if label in labels
    ]
    columns = legend_columns(labels)
    figure.legend(handles=handles, loc="outside right center", ncols=columns)
