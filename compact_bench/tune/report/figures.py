"""Search -> figures: the first objective by trial and by knob, and all that others draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from compact_bench.report.parts.style import STYLE, Picture, render
from compact_bench.tune.report import fronts, importance, shares
from compact_bench.tune.report.captions import caption, left_out
from compact_bench.tune.report.panels import (
    BEYOND,
    DOT,
    EDGE,
    LINE,
    at_edge,
    axis_title,
    bounds,
    default_of,
    drawable,
    extent,
    legend,
    limit,
    mark,
    marks_of,
    metric,
    panels,
    readable,
    settings,
    short,
    slugs,
    title,
    values,
)
from compact_bench.tune.trials import PRUNED, Hyperparameter, Search, Study, Trial

MOST_UPRIGHT = 5  # choices on an axis whose numbers still have room side by side

_DASHES = (0, (5, 3))

_COMPLETE: dict[str, Any] = {"marker": "o", "color": DOT, "markersize": 5, "linewidth": 0}

_PRUNED: dict[str, Any] = {
    "marker": "o", "markerfacecolor": "none", "markeredgecolor": "#9aa0a6", "markersize": 4.5,
    "markeredgewidth": 0.9, "linewidth": 0,
}  # fmt: skip

_RUNNING: dict[str, Any] = {"color": LINE, "linewidth": 1.8}

_AT_DEFAULT: dict[str, Any] = {"color": "#444444", "linewidth": 1.1, "linestyle": _DASHES}

_STAR = "Star: the method's own settings, ring: the best"


def running_best(found: np.ndarray, better: int) -> np.ndarray:
    """Best value so far.

    found: (n,) in the order of trials; better: 1 where more is, else -1. Returns (n,).
    """
    return better * np.maximum.accumulate(better * found)


def history(search: Search) -> Picture | None:
    """The first objective by trial; None where no trial has a value."""
    studies = [one for one in search.studies if drawable(one).trials or _last_reports(one).size]
    if not studies:
        return None
    with matplotlib.rc_context(STYLE):
        figure, axes = panels(len(studies), (3.6, 2.7), 3)
        for axis, study in zip(axes, studies, strict=True):
            _history(axis, study)
            title(axis, study.label)
        named = [(_COMPLETE, "complete"), (_RUNNING, "best so far")]
        named += [(_AT_DEFAULT, "default settings")] if any(map(default_of, studies)) else []
        named += [(_PRUNED, "pruned")] if any(_last_reports(one).size for one in studies) else []
        legend(figure, named)
        content = render(figure)
    text = caption(
        search,
        studies,
        "The first objective by trial; every panel has scales of its own. Dashed: the method's own "
        "settings, which are the first trial. Hollow: pruned trials at their last report, which is "
        "of an earlier step, so no value to compare with the others'; at the edge where beyond it",
        f"Triangles at the edge: {BEYOND}",
        left_out(search, studies, "without a value"),
    )
    return Picture("tune_history", "What the search found, trial by trial", text, content)


def _last_reports(study: Study) -> np.ndarray:
    """(n,2) float64: number and last reported value of the pruned trials that have a finite one."""
    scale = 100 if metric(study).percent else 1
    found = [
        (trial.number, scale * trial.reports[-1][1])
        for trial in study.trials
        if trial.state == PRUNED and trial.reports and math.isfinite(trial.reports[-1][1])
    ]
    return np.array(found, dtype=float).reshape(-1, 2)


def _history(axis: Axes, study: Study) -> None:
    complete = drawable(study).trials
    numbers = np.array([trial.number for trial in complete], dtype=float)
    found, pruned = values(study, complete), _last_reports(study)
    ends = extent(study) if found.size else bounds(pruned[:, 1], metric(study).better)
    axis.plot(pruned[:, 0], np.clip(pruned[:, 1], *ends), **_PRUNED, zorder=2)
    inside = at_edge(axis, numbers, found, ends)
    axis.plot(numbers[inside], found[inside], **_COMPLETE, zorder=3)
    if found.size:
        # To the last trial, so that it shows for how long nothing better was found.
        last = max(trial.number for trial in study.trials)
        best = running_best(found, metric(study).better)
        x, y = np.append(numbers, last), np.append(best, best[-1])
        axis.plot(x, y, **_RUNNING, drawstyle="steps-post", zorder=4)
    default = default_of(study)
    if default is not None:
        axis.axhline(values(study, [default])[0], **_AT_DEFAULT, zorder=1.5)
    limit(axis, ends)
    axis.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    axis.set(xlabel="trial", ylabel=axis_title(metric(study)))


def slices(search: Search) -> list[Picture]:
    """Of each study the first objective against each knob."""
    names = slugs([study.label for study in search.studies])
    found = zip(search.studies, names, strict=True)
    return [_slice(search, study, name) for study, name in found
            if drawable(study).trials and study.knobs]  # fmt: skip


def _slice(search: Search, study: Study, name: str) -> Picture:
    trials = drawable(study).trials
    numbers = np.array([trial.number for trial in trials], dtype=float)
    ends = extent(study)
    norm = Normalize(0, max(numbers.max(), 1))
    with matplotlib.rc_context(STYLE):
        figure, axes = panels(len(study.knobs), (2.7, 2.5), 3, sharey=True)
        for axis, knob in zip(axes, study.knobs, strict=True):
            _against(axis, study, knob, norm)
            axis.set_xlabel(readable(knob))
        for axis in axes[::3]:
            axis.set_ylabel(axis_title(metric(study)))
        limit(axes[0], ends)
        dots = matplotlib.cm.ScalarMappable(norm, "viridis_r")
        bar = figure.colorbar(dots, ax=axes, label="trial", aspect=30, pad=0.02)
        bar.locator = MaxNLocator(5, integer=True)
        bar.outline.set_visible(False)
        legend(figure, [(style, name) for _, style, name in marks_of(study)])
        content = render(figure)
    text = caption(
        search,
        [study],
        f"The first objective of {study.label} against each knob, complete trials only. {_STAR}. "
        "Among choices later trials are further right",
        f"Triangles at the edge: {BEYOND}",
    )
    return Picture(f"tune_slice_{name}", f"{study.label}: value by knob", text, content)


def _against(axis: Axes, study: Study, knob: Hyperparameter, norm: Normalize) -> None:
    trials = drawable(study).trials
    y, x = values(study, trials), _places(axis, trials, knob, norm)
    numbers = np.array([trial.number for trial in trials], dtype=float)
    ends = extent(study)
    known = np.isfinite(x)
    inside = at_edge(axis, np.where(known, x, np.nan), y, ends) & known
    axis.scatter(
        x[inside], y[inside], c=numbers[inside], norm=norm, cmap="viridis_r", s=26,
        edgecolors=EDGE, linewidths=0.5, zorder=4,
    )  # fmt: skip
    for trial, style, _ in marks_of(study):
        at = x[trials.index(trial)]
        if np.isfinite(at):
            mark(axis, (at, np.clip(y[trials.index(trial)], *ends)), style)


def _places(
    axis: Axes, trials: Sequence[Trial], knob: Hyperparameter, norm: Normalize
) -> np.ndarray:
    """(n,) float64 places on the axis, which is set up for the knob; NaN where there is none."""
    found = settings(trials, [knob])[:, 0]
    if knob.choices:
        known = found[np.isfinite(found)]
        choices = sorted({*knob.choices, *known.tolist()})
        axis.set_xticks(
            range(len(choices)),
            [short(one) for one in choices],
            rotation=45 if len(choices) > MOST_UPRIGHT else 0,
        )
        axis.set_xlim(-0.6, len(choices) - 0.4)
        # Spread by number: trials of one choice and like values would lie on each other.
        spread = [0.5 * (float(norm(trial.number)) - 0.5) for trial in trials]
        index = [choices.index(one) if np.isfinite(one) else np.nan for one in found.tolist()]
        return np.array(index, dtype=float) + spread
    if knob.log:
        found = np.where(found > 0, found, np.nan)
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(numticks=6))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    else:
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=knob.integer, min_n_ticks=1))
    axis.margins(x=0.08)
    return found


def build(search: Search) -> list[Picture]:
    """The figures that this search allows."""
    found = [history(search), importance.importance(search), *slices(search)]
    found += [*shares.contours(search), shares.ternary(search), fronts.pareto(search)]
    return [picture for picture in found if picture is not None]
