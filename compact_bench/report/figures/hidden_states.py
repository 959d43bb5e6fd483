"""Figures of hidden states: how far they moved, layer by layer, and where to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from compact_bench.analysis.hidden_states import StateStats, state_stats
from compact_bench.analysis.results import Results, Row
from compact_bench.records.hidden_states import read_record
from compact_bench.report.parts import captions
from compact_bench.report.parts.style import (
    DASHED,
    OTHER,
    PALETTE,
    STYLE,
    Look,
    Picture,
    Rendering,
    grid,
    in_legend,
    label_width,
    legend,
    legend_width,
    row_handles,
    shown_looks,
    tag,
)

MOST_MAPS, MOST_ROWS = 6, 60

_RANDOM, _BEFORE = "#8a8a8a", "#9aa0a6"
_KINDS = (("cka", "CKA to before"), ("drift", "drift, base's spreads"))
_TASK_MARKERS = "os^DvP"


@rc_context(STYLE)
def latent(results: Results) -> Picture | None:
    """CKA to the base and drift by layer, and of the last layer row by row; None without."""
    found = state_stats(results)
    rows = [row for row in results.rows if found and found.values.get(row.label)]
    if found is None or not 0 < len(rows) <= MOST_ROWS:
        return None  # the table has them all
    figure = _layers(results, found, rows)
    text = captions.caption(
        results,
        f"Above: debiased linear CKA of the trained student's hidden states with {found.base.label}"
        "'s, and how far they moved in units of the untrained states' spread, by layer (0: "
        "embeddings); mean over seeds. Dashed: random changes of the weights that cost the same KL "
        f"from {found.base.label} as the rows' training did, mean and range over rows. Below: the "
        f"last layer (layer {found.base.layers[-1]}), row by row; bars: standard deviation over "
        "seeds; hollow: the row's own random change. States are those of the last token of "
        f"{len(found.base.record.probes)} prompts",
    )
    return Picture("latent", "How far hidden states moved", text, Rendering(figure))


def _layers(results: Results, found: StateStats, rows: Sequence[Row]) -> Figure:
    every = shown_looks(results)
    known = {row.label: every[row.label] for row in rows}
    labels, explained = [*known], in_legend(known)
    size = (label_width(labels) + 6.4 + legend_width([*explained]), 3.6 + 0.2 * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(2, 2, height_ratios=[2.6, 0.5 + 0.2 * len(rows)])
    for above, below, (name, title) in zip(*axes, _KINDS, strict=True):
        _by_layer(above, found, known, name)
        above.set(xlabel="layer", ylabel=title)
        above.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        _by_row(below, found, known, name)
        below.set_xlabel(title)
        below.set_yticks(range(len(rows)), labels if name == "cka" else [""] * len(rows))
    handles = row_handles(explained, 5.5, linewidth=1.5)
    handles.append(Line2D([], [], color=_RANDOM, linestyle=DASHED, label="random change"))
    legend(figure, handles, [*explained])
    return figure


def _by_layer(axis: Axes, found: StateStats, known: Mapping[str, Look], name: str) -> None:
    def means(kind: str) -> np.ndarray:
        """Mean over seeds. (rows,layers) float64."""
        return np.array([[found.summary(row, kind, at).mean for at in layers] for row in known])

    layers = np.array(found.base.layers)
    control = means(f"{name}_random")
    known_at = np.isfinite(control).any(axis=0)  # states that don't differ have no value
    if known_at.any():
        at, control = layers[known_at], control[:, known_at]
        low, high = np.nanmin(control, axis=0), np.nanmax(control, axis=0)
        axis.fill_between(at, low, high, color=_RANDOM, alpha=0.2, linewidth=0, zorder=1)
        middle = np.nanmean(control, axis=0)
        axis.plot(at, middle, color=_RANDOM, linestyle=DASHED, linewidth=1.8, zorder=2)
    for (label, look), values in zip(known.items(), means(name), strict=True):
        first = look.marker == "*"  # the row that others are compared to
        order, width = (4.0, 2.4) if first else (2.5 if look == OTHER else 3.0, 1.0)
        tag(label, *axis.plot(layers, values, linewidth=width, zorder=order, **look.style(4.5)))


def _by_row(axis: Axes, found: StateStats, known: Mapping[str, Look], name: str) -> None:
    def bar(sd: float) -> float | None:
        return sd if np.isfinite(sd) else None

    last = found.base.layers[-1]
    for place, (label, look) in enumerate(known.items()):
        mine, control = (found.summary(label, kind, last) for kind in (name, f"{name}_random"))
        style = look.style(5.5) | {"elinewidth": 1.1, "linestyle": ""}
        hollow = style | {"markerfacecolor": "white", "markeredgecolor": look.colour, "alpha": 0.75}
        tag(
            label,
            axis.errorbar(control.mean, place + 0.2, xerr=bar(control.sd), **hollow),
            axis.errorbar(mine.mean, place - 0.1, xerr=bar(mine.sd), zorder=3, **style),
        )
    axis.set_ylim(len(known) - 0.5, -0.5)  # in the table's order


@rc_context(STYLE)
def latent_map(results: Results) -> Picture | None:
    """Where training moved each prompt's last state, on the base's two main components."""
    found = state_stats(results)
    rows = chosen(results, found) if found else []
    if found is None or not rows or len(found.base.axes.components) < 2:
        return None
    tasks = list(dict.fromkeys(task for task, _ in found.base.record.probes))
    shares = [f"{100 * share:.0f}% of the variance" for share in found.base.axes.shares[:2]]
    titles = (f"component 1: {shares[0]}", f"component 2: {shares[1]}")
    figure, axes = grid(len(rows), (2.9, 2.7), 3, titles, tasks)
    shown = {
        task: Look(PALETTE[i % len(PALETTE)], _TASK_MARKERS[i % len(_TASK_MARKERS)])
        for i, task in enumerate(tasks)
    }
    for axis, row in zip(axes, rows, strict=True):
        _moves(axis, found, row, shown)
        axis.set_title(row.label)
    handles = row_handles({task.replace("_", " "): look for task, look in shown.items()}, 6)
    handles.append(Line2D([], [], color=_BEFORE, linewidth=1.0, label="from before"))
    legend(figure, handles, tasks)
    text = captions.caption(
        results,
        f"Each prompt's hidden state after layer {found.base.layers[-1]}, on the first two "
        f"principal components of {found.base.label}'s states: lines begin where it was before "
        "training and end, at the marker, where it is after it. What moves along other components "
        "isn't seen. One seed, the first, of the reference row and of others at even distances in "
        "the order of their drift, from the least to the most",
    )
    return Picture("latent_map", "Where training moved the prompts", text, Rendering(figure))


def chosen(results: Results, found: StateStats) -> list[Row]:
    """The reference row and others from the least drift to the most, MOST_MAPS in all."""
    last = found.base.layers[-1]
    drifts = {row.label: found.summary(row.label, "drift", last).mean for row in results.rows}
    moved = sorted(
        (row for row in results.rows if np.isfinite(drifts[row.label])),
        key=lambda row: drifts[row.label],
    )
    reference = [row for row in moved if row is results.reference]
    others = [row for row in moved if row is not results.reference]
    count = min(MOST_MAPS - len(reference), len(others))
    places = sorted({round(place) for place in np.linspace(0, len(others) - 1, count)})
    return [*reference, *(others[place] for place in places)]


def _moves(axis: Axes, found: StateStats, row: Row, tasks: Mapping[str, Look]) -> None:
    base = found.base
    records = (read_record(cell) for cell in row.done.values())
    matched = next(m for r in records if r is not None and (m := r.matched(base.record)))
    before, after = (base.axes.project(one.states[-1])[:, :2] for one in (base.record, matched))
    lines = np.stack([before, after], axis=1)  # (n,2,2): prompt, end, coordinate
    axis.add_collection(LineCollection(list(lines), colors=_BEFORE, linewidths=0.7, zorder=2))
    axis.plot(*before.T, ".", color=_BEFORE, markersize=2.5, zorder=2)
    names = np.array([task for task, _ in base.record.probes])
    for task, look in tasks.items():  # an SVG has each marker once, other than of seaborn's
        axis.plot(*after[names == task].T, linewidth=0, zorder=3, **look.style(4.2))
