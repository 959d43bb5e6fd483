"""Figures of knobs that are shares of one sum: a triangle of three, and pairs of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.tri import Triangulation

from compact_bench.report.parts.style import STYLE, Picture, render
from compact_bench.tune.report.captions import caption
from compact_bench.tune.report.panels import (
    axis_title,
    colours,
    drawable,
    legend,
    limit,
    mark,
    marks_of,
    metric,
    panels,
    settings,
    share_names,
    simplexes,
    slugs,
    title,
    values,
)
from compact_bench.tune.report.triangle import frame, place
from compact_bench.tune.trials import Hyperparameter, Search, Study, Trial

FEWEST = 8  # different points for an interpolated background

LEVELS = 8

_READ = (
    "Colour: the value, dark is better; between points of enough trials interpolated, which is no "
    "measurement. Star: the method's own settings, ring: the best"
)


def parts(trials: Sequence[Trial], knobs: Sequence[Hyperparameter]) -> np.ndarray:
    """(n,k) float64: shares of sum 1; NaN where one is missing or negative, or all are 0."""
    found = settings(trials, knobs)
    total = found.sum(axis=1, keepdims=True)
    valid = np.isfinite(found).all(axis=1) & (found >= 0).all(axis=1) & (total[:, 0] > 0)
    divisor = np.where(valid[:, None], total, 1.0)
    return np.where(valid[:, None], found / divisor, np.nan)


def mesh(points: np.ndarray, found: np.ndarray) -> tuple[Triangulation, np.ndarray] | None:
    """Triangles between different points, and the mean value of each; None of too few.

    points: (n,2); found: (n,). None of fewer than FEWEST different points, or points on a line.
    """
    unique, index = np.unique(np.round(points, 9), axis=0, return_inverse=True)
    index = index.ravel()
    if len(unique) < FEWEST:
        return None
    spread = np.linalg.svd(unique - unique.mean(axis=0), compute_uv=False)
    if spread[1] < 1e-6 * spread[0]:
        return None
    means = np.bincount(index, weights=found) / np.bincount(index)
    try:
        return Triangulation(*unique.T), means
    except (RuntimeError, ValueError):  # qhull gives up on points that lie nearly on a line
        return None


def _fill(
    axis: Axes, points: np.ndarray, found: np.ndarray, scale: tuple[Colormap, Normalize]
) -> None:
    """Colour between the points, where there are enough, and the points themselves."""
    cmap, norm = scale
    low, high = norm.inverse(0.0), norm.inverse(1.0)
    # Cut: one trial that diverged would colour all up to its neighbours.
    made = mesh(points, np.clip(found, low, high))
    if made is not None and np.ptp(found) > 0:
        levels = np.linspace(low, high, LEVELS)
        axis.tricontourf(*made, levels=levels, cmap=_pale(cmap), norm=norm, extend="both")
    axis.scatter(
        points[:, 0], points[:, 1], c=found, cmap=cmap, norm=norm, s=34, edgecolors="white",
        linewidths=0.9, zorder=4,
    )  # fmt: skip


def _pale(cmap: Colormap) -> Colormap:
    """The colours mixed with white, so that points stand out; transparent ones would show seams."""
    return ListedColormap(1 - 0.6 * (1 - cmap(np.linspace(0, 1, 256))[:, :3]))


def _bar(
    figure: Figure, study: Study, axes: Sequence[Axes], scale: tuple[Colormap, Normalize]
) -> None:
    cmap, norm = scale
    label = f"{axis_title(metric(study))} (dark is better)"
    bar = figure.colorbar(
        ScalarMappable(norm, cmap), ax=axes, label=label, fraction=0.05, pad=0.02, aspect=24
    )
    bar.locator = MaxNLocator(5)
    bar.outline.set_visible(False)


def contours(search: Search) -> list[Picture]:
    """Of each study with knobs of one sum the first objective over pairs of them."""
    names = slugs([study.label for study in search.studies])
    found = []
    for study, name in zip(search.studies, names, strict=True):
        pairs = [
            pair for knobs in simplexes(study).values() for pair in combinations(knobs, 2)
            if np.isfinite(settings(drawable(study).trials, pair)).all(axis=1).any()
        ]  # fmt: skip
        if pairs:
            found.append(_contour(search, study, name, pairs))
    return found


def _contour(
    search: Search, study: Study, name: str, pairs: Sequence[tuple[Hyperparameter, ...]]
) -> Picture:
    scale = colours(study)
    with matplotlib.rc_context(STYLE):
        figure, axes = panels(len(pairs), (2.9, 2.8), 3)
        for axis, pair in zip(axes, pairs, strict=True):
            _pair(axis, study, pair, scale)
        _bar(figure, study, axes, scale)
        legend(figure, [(style, name) for _, style, name in marks_of(study)])
        content = render(figure)
    text = caption(
        search,
        [study],
        f"The first objective of {study.label} over pairs of knobs that are shares of one sum. "
        f"Grey: pairs beyond the sum, which can't be. {_READ}",
    )
    return Picture(
        f"tune_contour_{name}", f"{study.label}: value by pairs of shares", text, content
    )


def _pair(
    axis: Axes, study: Study, pair: Sequence[Hyperparameter], scale: tuple[Colormap, Normalize]
) -> None:
    trials = drawable(study).trials
    points = settings(trials, pair)
    known = np.isfinite(points).all(axis=1)
    total = pair[0].total
    top = np.nanmax(points) if not math.isfinite(total) else max(total, np.nanmax(points))
    if math.isfinite(total):
        corners = [(0, total), (total, 0), (2 * top, 0), (2 * top, 2 * top), (0, 2 * top)]
        axis.fill(*zip(*corners, strict=True), color="#efefef", linewidth=0, zorder=0.5)
    _fill(axis, points[known], values(study, trials)[known], scale)
    for trial, style, _ in marks_of(study):
        at = points[trials.index(trial)]
        if np.isfinite(at).all():
            mark(axis, tuple(at), style)
    for which, knob in zip("xy", pair, strict=True):
        limit(axis, (0.0, float(top) or 1.0), which)
        axis.set(**{f"{which}label": knob.name.replace("_", " ")})
        getattr(axis, f"{which}axis").set_major_locator(MaxNLocator(5))
    axis.set_aspect("equal")


def ternary(search: Search) -> Picture | None:
    """The first objective over each three knobs of one sum, in a triangle; None without such."""
    found = []
    for study in search.studies:
        for sum_name, knobs in simplexes(study).items():
            if len(knobs) == 3 and np.isfinite(parts(drawable(study).trials, knobs)).any():
                found.append((study, sum_name, knobs))
    if not found:
        return None
    with matplotlib.rc_context(STYLE):
        figure, axes = panels(len(found), (4.6, 3.4), 2)
        for axis, (study, sum_name, knobs) in zip(axes, found, strict=True):
            scale = colours(study)
            frame(axis, share_names(knobs))
            _dots(axis, study, knobs, scale)
            title(axis, f"{study.label}: shares of {sum_name}")
            _bar(figure, study, [axis], scale)
        named = [(style, name) for study, _, _ in found for _, style, name in marks_of(study)]
        legend(figure, named)
        content = render(figure)
    studies = list({study.label: study for study, _, _ in found}.values())
    text = caption(
        search,
        studies,
        "The first objective over the shares of three knobs in their fixed sum. At a corner one "
        "has all of it, on the opposite side none; the numbers at a side, and the grid lines that "
        f"begin there, are of the share of the same colour. {_READ}",
    )
    return Picture("tune_ternary", "Value by the shares of three knobs", text, content)


def _dots(
    axis: Axes, study: Study, knobs: Sequence[Hyperparameter], scale: tuple[Colormap, Normalize]
) -> None:
    trials = drawable(study).trials
    shares = parts(trials, knobs)
    known = np.isfinite(shares).all(axis=1)
    points = place(shares)
    _fill(axis, points[known], values(study, trials)[known], scale)
    for trial, style, _ in marks_of(study):
        at = trials.index(trial)
        if known[at]:
            mark(axis, tuple(points[at]), style)
