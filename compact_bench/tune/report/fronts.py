"""Figure of two objectives: the trials that nothing beats in both."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from compact_bench.report.parts.style import STYLE, Picture, render
from compact_bench.tune.report.captions import caption
from compact_bench.tune.report.panels import (
    BEYOND,
    DEFAULT,
    LINE,
    axis_title,
    default_of,
    drawable,
    extent,
    legend,
    limit,
    mark,
    metric,
    panels,
    title,
    values,
)
from compact_bench.tune.trials import Search, Study

_TRIAL: dict[str, Any] = {"marker": "o", "color": "#8a9097", "markersize": 5, "linewidth": 0}

_FAR: dict[str, Any] = {**_TRIAL, "marker": "X"}

_FRONT: dict[str, Any] = {
    "color": LINE, "linewidth": 1.8, "marker": "o", "markersize": 5.5, "markeredgecolor": "white",
}  # fmt: skip


def pareto(search: Search) -> Picture | None:
    """The complete trials of studies with two objectives, and their front; None without."""
    studies = [one for one in search.studies if len(one.objectives) == 2 and drawable(one).trials]
    if not studies:
        return None
    with matplotlib.rc_context(STYLE):
        figure, axes = panels(len(studies), (3.6, 3.2), 3)
        for axis, study in zip(axes, studies, strict=True):
            _both(axis, study)
            title(axis, study.label)
        named = [(_TRIAL, "trial"), (_FRONT, "front")]
        named += [(DEFAULT, "default settings")] if any(map(default_of, studies)) else []
        legend(figure, named)
        content = render(figure)
    text = caption(
        search,
        studies,
        "Both objectives of the complete trials; axes are turned so that upper right is better, "
        "and every panel has scales of its own. Dots on the line: the front, the trials that no "
        "other is as good as in both and better in one. For each place below the line one of them "
        f"is at least as good in both. Crosses at the edge: {BEYOND}",
    )
    return Picture("tune_pareto", "What one objective costs the other", text, content)


def front_points(study: Study) -> np.ndarray:
    """(k,2) float64: values of the front's trials, the best first objective first."""
    front = drawable(study).front
    return np.stack([values(study, front, i) for i in range(2)], axis=1)


def _both(axis: Axes, study: Study) -> None:
    trials = drawable(study).trials
    points = np.stack([values(study, trials, i) for i in range(2)], axis=1)  # (n,2)
    ends = [extent(study, objective) for objective in range(2)]
    low, high = np.array(ends).T
    drawn = np.clip(points, low, high)
    far = (drawn != points).any(axis=1)
    axis.plot(*drawn[~far].T, **_TRIAL, zorder=3)
    axis.plot(*drawn[far].T, **_FAR, zorder=5)
    front = front_points(study)
    inside = (front == np.clip(front, low, high)).all(axis=1)
    # From the best first objective on, the second is that of the last trial passed.
    axis.plot(
        *np.clip(front, low, high).T, **_FRONT, drawstyle="steps-post", zorder=4,
        markevery=np.flatnonzero(inside).tolist(),
    )  # fmt: skip
    default = default_of(study)
    if default is not None:
        x, y = drawn[trials.index(default)]
        mark(axis, (x, y), DEFAULT)
    for objective, which in enumerate("xy"):
        shown = metric(study, objective)
        limit(axis, ends[objective] if shown.better > 0 else ends[objective][::-1], which)
        axis.set(**{f"{which}label": f"{axis_title(shown)} (better →)"})
        getattr(axis, f"{which}axis").set_major_locator(MaxNLocator(5))
