"""What the figures of a search share: trials that can be drawn, limits, markers, panels."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, withStroke

from compact_bench.suite.metrics import Metric
from compact_bench.tune.trials import OBJECTIVES, Hyperparameter, Study, Trial

# Limits leave out what is worse than both quartiles by more than this many times their distance:
# one trial that diverged would press all others into a line.
FENCE = 3.0

BEYOND = "values worse than both quartiles by more than three times their distance"

TITLE_WIDTH, SLUG_WIDTH = 34, 60

DOT, LINE, EDGE = "#0072B2", "#D55E00", "#333333"

BEST: dict[str, Any] = {
    "marker": "o", "markersize": 11, "markerfacecolor": "none", "markeredgecolor": "#000000",
    "markeredgewidth": 1.6, "linewidth": 0,
}  # fmt: skip

DEFAULT: dict[str, Any] = {
    "marker": "*", "markersize": 12, "markerfacecolor": "#ffffff", "markeredgecolor": "#000000",
    "markeredgewidth": 1.0, "linewidth": 0,
}  # fmt: skip


def drawable(study: Study) -> Study:
    """The study with only those complete trials whose values are all finite."""
    kept = tuple(
        trial
        for trial in study.complete
        if len(trial.values) == len(study.objectives) and all(map(math.isfinite, trial.values))
    )
    return replace(study, trials=kept)


def default_of(study: Study) -> Trial | None:
    """The trial of the method's own settings, where it can be drawn."""
    found = study.default
    return found if found is not None and found in drawable(study).trials else None


def metric(study: Study, objective: int = 0) -> Metric:
    """How an objective is shown."""
    return OBJECTIVES[study.objectives[objective]]


def axis_title(shown: Metric) -> str:
    """The metric's title with its unit."""
    return f"{shown.title}, %" if shown.percent else shown.title


def values(study: Study, trials: Iterable[Trial], objective: int = 0) -> np.ndarray:
    """(n,) float64: the trials' values in the unit of `axis_title`."""
    scale = 100 if metric(study, objective).percent else 1
    return np.array([scale * trial.values[objective] for trial in trials], dtype=float)


def settings(trials: Iterable[Trial], knobs: Sequence[Hyperparameter]) -> np.ndarray:
    """(n,k) float64: the trials' settings, NaN where a trial has none."""
    found = [[trial.settings.get(knob.name, math.nan) for knob in knobs] for trial in trials]
    return np.array(found, dtype=float).reshape(-1, len(knobs))


def simplexes(study: Study) -> dict[str, list[Hyperparameter]]:
    """The knobs that are shares of one sum, by the sum's name."""
    found: dict[str, list[Hyperparameter]] = {}
    for knob in study.knobs:
        if knob.simplex:
            found.setdefault(knob.simplex, []).append(knob)
    return found


def readable(knob: Hyperparameter) -> str:
    """The knob's name in words."""
    return knob.name.replace("_", " ")


def share_names(knobs: Sequence[Hyperparameter]) -> list[str]:
    """Names in words without what all of them begin with.

    >>> share_names([Knob("beta_consensus", 1.0), Knob("beta_difficulty", 1.0)])
    ['consensus', 'difficulty']
    """
    words = [knob.name.split("_") for knob in knobs]
    while len(words) > 1 and min(map(len, words)) > 1 and len({one[0] for one in words}) == 1:
        words = [one[1:] for one in words]
    return [" ".join(one) for one in words]


def short(value: float) -> str:
    """The value in few characters.

    >>> [short(one) for one in (0.00025, 0.5, 0.0, 12.0)]
    ['2.5e-4', '0.5', '0', '12']
    """
    if 0 < abs(value) < 0.01:
        digits, power = f"{value:.5e}".split("e")
        return f"{float(digits):g}e{int(power)}"
    return f"{value:g}"


def slugs(labels: Sequence[str]) -> list[str]:
    """A name for files for each label, no two alike even where case doesn't count.

    >>> slugs(["a [x=1]", "A x 1"])
    ['a_x_1', 'A_x_1_2']
    """
    taken: set[str] = set()
    found = []
    for label in labels:
        plain = re.sub(r"[^A-Za-z0-9]+", "_", label).strip("_")[:SLUG_WIDTH] or "study"
        slug, number = plain, 1
        while slug.casefold() in taken:
            number += 1
            slug = f"{plain}_{number}"
        taken.add(slug.casefold())
        found.append(slug)
    return found


def bounds(found: np.ndarray, better: int) -> tuple[float, float]:
    """Lowest and highest value, without those that are worse by far.

    found: (n,) finite, n > 0; better: 1 where more is, else -1. Wider than 0 even where all are
    equal, and where half of them are nothing is left out.
    """
    first, third = np.quantile(better * found, [0.25, 0.75])
    near = better * found >= first - FENCE * (third - first)
    inside = found[near] if third > first else found
    low, high = float(inside.min()), float(inside.max())
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        room = 0.05 * abs(low) or 0.5
        return low - room, high + room
    return low, high


def extent(study: Study, objective: int = 0) -> tuple[float, float]:
    """`bounds` of the trials' values, widened to the default settings' own."""
    found = values(study, drawable(study).trials, objective)
    ends = bounds(found, metric(study, objective).better)
    default = default_of(study)
    kept = values(study, [default] if default else [], objective).tolist()
    return min(*ends, *kept), max(*ends, *kept)


def limit(axis: Axes, ends: tuple[float, float], which: str = "y") -> None:
    """Set the axis's limits with room for markers at both ends."""
    room = 0.08 * (ends[1] - ends[0])
    axis.set(**{f"{which}lim": (ends[0] - room, ends[1] + room)})


def at_edge(axis: Axes, x: np.ndarray, y: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
    """Mark values beyond the ends by triangles there; returns (n,) bool, which ones lie within."""
    for beyond, end, marker in ((y < ends[0], ends[0], "v"), (y > ends[1], ends[1], "^")):
        axis.plot(
            x[beyond], np.full(beyond.sum(), end), marker, color="#767676", markersize=5.5,
            markeredgecolor="white", markeredgewidth=0.5, zorder=3,
        )  # fmt: skip
    return (y >= ends[0]) & (y <= ends[1])


def mark(axis: Axes, at: tuple[float, float], style: dict[str, Any]) -> None:
    """Draw the best or default trial's marker, with a white rim to stand out from colours."""
    rim = [withStroke(linewidth=3.2, foreground="white"), Normal()]
    axis.plot(*at, **style, zorder=6, clip_on=False, path_effects=rim)


def marks_of(study: Study) -> list[tuple[Trial, dict[str, Any], str]]:
    """The default and the best trial with style and name, those that there are."""
    pairs = ((default_of(study), DEFAULT, "default settings"), (drawable(study).best, BEST, "best"))
    return [(trial, style, name) for trial, style, name in pairs if trial is not None]


def legend(figure: Figure, marks: Iterable[tuple[dict[str, Any], str]], **place: Any) -> None:
    """A legend of the figure outside its panels; nothing where nothing is marked."""
    named = {name: style for style, name in marks}
    columns = max(1, int(figure.get_figwidth() / 1.45))
    handles = [
        Line2D([], [], **{**style, "markersize": min(9, style.get("markersize", 9))}, label=name)
        for name, style in named.items()
    ]
    if handles:
        figure.legend(handles=handles, **{"loc": "outside upper right", "ncols": columns, **place})


def colours(study: Study) -> tuple[Colormap, Normalize]:
    """A scale for the first objective on which darker is better; its ends are the `extent`."""
    name = "viridis_r" if metric(study).better > 0 else "viridis"
    return matplotlib.colormaps[name], Normalize(*extent(study))


def panels(
    count: int, size: tuple[float, float], columns: int, **shared: Any
) -> tuple[Figure, list[Axes]]:
    """Panels of one size (inches), each with scales of its own unless `shared` says otherwise."""
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **shared).ravel().tolist()
    for axis in axes[count:]:
        axis.remove()
    for axis in axes[:count]:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes[:count]


def title(axis: Axes, text: str) -> None:
    """A panel's title, on more lines where it is long."""
    axis.set_title(textwrap.fill(text, TITLE_WIDTH))
