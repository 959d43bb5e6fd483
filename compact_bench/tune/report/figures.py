"""Search -> figures: Optuna's own plots of studies that are rebuilt from the plain trials.

Drawn otherwise: importances, since Optuna's plot shows one evaluator alone, and the triangle of
three shares (by mpltern), since Optuna has none.
"""

from __future__ import annotations

import contextlib
import math
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, count
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import patch

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from compact_bench.report.parts.style import PALETTE, STYLE, Picture, Rendering
from compact_bench.tune.report.captions import caption
from compact_bench.tune.trials import OBJECTIVES, PRUNED, Hyperparameter, Search, Study

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

# Values worse than both quartiles by more than this many times their distance are cut: one trial
# that diverged would press all others into a line, and be all the variance there is to explain.
FENCE = 3.0

CUT = "Values worse than both quartiles by more than three times their distance are cut there"

FEWEST = 4  # different values that importances are computed from

FEWEST_POINTS = 8  # different points that a triangle's background is interpolated from

PED_ANOVA, FANOVA = "PED-ANOVA", "fANOVA"

SLUG_WIDTH = 60

COLUMNS = 4  # panels side by side

_BEST_SHARE, _BEST_COUNT = 0.1, 5  # what PED-ANOVA calls good: Optuna's share, its least count

_STYLE: Any = {
    **STYLE,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "figure.figsize": (5.0, 3.2),
}

_MARKER: Any = {
    "markeredgecolor": "black", "markeredgewidth": 1.4, "linestyle": "none", "zorder": 6,
    "clip_on": False,
}  # fmt: skip

_DEFAULT: Any = {
    **_MARKER, "marker": "*", "markersize": 13, "markerfacecolor": "white",
    "label": "default settings",
}  # fmt: skip

_BEST: Any = {
    **_MARKER, "marker": "o", "markersize": 11, "markerfacecolor": "none", "label": "best",
}  # fmt: skip


def build(search: Search) -> list[Picture]:
    """The figures that this search allows, those of one study after those of another."""
    made = []
    names = slugs(study.label for study in search.studies)
    with drawing():
        for study, name in zip(search.studies, names, strict=True):
            for kind, maker in MAKERS.items():
                if (drawn := maker(study)) is not None:
                    figure, title, text = drawn
                    shown = caption(search, [study], text)
                    title = f"{study.label}: {title}"
                    made.append(Picture(f"tune_{kind}_{name}", title, shown, Rendering(figure)))
    return made


def slugs(labels: Iterable[str]) -> list[str]:
    """A name for files from each label, no two alike on any file system."""
    names: list[str] = []
    for label in labels:
        plain = re.sub(r"[^A-Za-z0-9]+", "_", label).strip("_")[:SLUG_WIDTH] or "study"
        taken = {name.casefold() for name in names}
        options = chain([plain], (f"{plain}_{number}" for number in count(2)))
        names.append(next(name for name in options if name.casefold() not in taken))
    return names


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """Our style in place of ggplot, which Optuna's plots ask for, and no windows."""
    from matplotlib import pyplot, style
    from optuna.exceptions import ExperimentalWarning

    backend = matplotlib.get_backend(auto_select=False)
    pyplot.switch_backend("agg")
    try:
        with (
            matplotlib.rc_context(_STYLE),
            patch.dict(style.library, ggplot=_STYLE),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore", ExperimentalWarning)
            warnings.filterwarnings("ignore", "Attempting to set identical")  # of one value
            yield
    finally:
        if backend is not None:  # a notebook's own
            pyplot.switch_backend(backend)


# --- studies of Optuna's ------------------------------------------------------------------------


def bounds(values: Iterable[float], better: int) -> tuple[float, float]:
    """Lowest and highest of finite values, without those that are worse by far (`FENCE`).

    better: 1 where more is, else -1. Where half of all values are equal nothing is left out.
    """
    array = np.array(list(values), dtype=float)  # (n,)
    first, third = np.quantile(better * array, [0.25, 0.75])
    near = better * array >= first - FENCE * (third - first)
    inside = array[near] if third > first else array
    return float(inside.min()), float(inside.max())


def values_of(study: Study, objective: int = 0) -> np.ndarray:
    """(n,) float64: values of the complete trials in the unit of the axis, cut at the bounds."""
    values = [_scale(study, objective) * trial.values[objective] for trial in study.complete]
    return np.clip(values, *bounds(values, study.directions[objective])) if values else np.empty(0)


def _scale(study: Study, objective: int = 0) -> float:
    return 100.0 if OBJECTIVES[study.objectives[objective]].percent else 1.0


def rebuild(study: Study, objectives: int = 1, logarithms: bool = False) -> optuna.Study:
    """An in-memory study of the same trials and numbers, whose values are `values_of`.

    objectives: how many of them, from the first. logarithms: hyperparameters on a logarithmic scale
    enter as logarithms, which fANOVA wouldn't take by itself. Numbers that are no trial's are
    failed there.
    """
    import optuna
    from optuna.trial import TrialState, create_trial

    optuna.logging.set_verbosity(optuna.logging.WARNING)  # else each new study is announced
    rebuilt = optuna.create_study(
        directions=["maximize" if d > 0 else "minimize" for d in study.directions[:objectives]]
    )
    rows = np.stack([values_of(study, i) for i in range(objectives)], axis=1).tolist()
    values = {trial.number: row for trial, row in zip(study.complete, rows, strict=True)}
    searched = study.hyperparameters
    domains = {one.words: _domain(study, one, logarithms) for one in searched}
    by_number = {trial.number: trial for trial in study.trials}
    for number in range(max(by_number, default=-1) + 1):
        if (trial := by_number.get(number)) is None:
            rebuilt.add_trial(create_trial(state=TrialState.FAIL))
            continue
        unfinished = TrialState.PRUNED if trial.state == PRUNED else TrialState.FAIL
        scale = {one.words: math.log if one.log and logarithms else float for one in searched}
        rebuilt.add_trial(
            create_trial(
                state=TrialState.COMPLETE if number in values else unfinished,
                values=values.get(number),
                params={h.words: scale[h.words](trial.settings[h.name]) for h in searched},
                distributions=domains,
                intermediate_values={step: _scale(study) * v for step, v in trial.reports},
            )
        )
    return rebuilt


def _domain(study: Study, one: Hyperparameter, logarithms: bool) -> BaseDistribution:
    """What is searched, widened to what was tried: the last value of a grid may be rounded up."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if one.choices:
        return CategoricalDistribution(one.choices)
    places = [trial.settings[one.name] for trial in study.trials]
    places += [0.0, one.total] if one.simplex else [one.low, one.high]
    ends = min(places), max(places)
    if one.log and logarithms:
        return FloatDistribution(math.log(ends[0]), math.log(ends[1]))
    return FloatDistribution(*ends, log=one.log)


def importances(study: Study) -> dict[str, dict[str, float]]:
    """Each hyperparameter's share of the importance for the first objective, by evaluator.

    Shares are >= 0 and sum to 1; the names are in words. Empty where there is one hyperparameter,
    or trials have fewer than FEWEST different values.

    PED-ANOVA: Watanabe et al., IJCAI 2023. fANOVA: Hutter et al., ICML 2014.
    """
    from optuna import importance

    names = [one.words for one in study.hyperparameters]
    values = values_of(study)
    if len(names) < 2 or len(np.unique(values)) < FEWEST:
        return {}
    rebuilt = rebuild(study, logarithms=True)
    best = min(0.5, max(_BEST_SHARE, _BEST_COUNT / len(values)))
    evaluators: dict[str, Any] = {
        PED_ANOVA: importance.PedAnovaImportanceEvaluator(target_quantile=best),
        FANOVA: importance.FanovaImportanceEvaluator(seed=0),
    }
    return {
        name: importance.get_param_importances(rebuilt, evaluator=evaluator, params=names)
        for name, evaluator in evaluators.items()
    }


def _by_importance(study: Study, shares: Mapping[str, Mapping[str, float]]) -> list[Hyperparameter]:
    """The hyperparameters, the most important by both evaluators first; none without shares."""
    both = {h: sum(by_name[h.words] for by_name in shares.values()) for h in study.hyperparameters}
    return sorted(both, key=both.__getitem__, reverse=True) if shares else []


# --- figures, each with title and caption; None where a study doesn't allow it ------------------

Drawn = tuple[Figure, str, str] | None


def history(study: Study) -> Drawn:
    """The first objective by trial, and the best so far."""
    from optuna.visualization.matplotlib import plot_optimization_history

    if not study.complete:
        return None
    axis = plot_optimization_history(rebuild(study), target_name=axis_title(study))
    axis.collections[0].set(color=PALETTE[0], zorder=3)
    axis.lines[0].set(drawstyle="steps-post", color=PALETTE[1], alpha=1, label="best so far")
    for place, style in _marked(study, best=False):
        own = values_of(study)[place]
        axis.axhline(own, color="#444444", linestyle="--", label=style["label"])
    axis.set_xlabel("trial")
    axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    return _finished(axis), "value by trial", f"The first objective by trial. {CUT}"


def importance(study: Study) -> Drawn:
    """The share of each hyperparameter in the importance, by both evaluators."""
    shares = importances(study)
    if not shares:
        return None
    order = [one.words for one in reversed(_by_importance(study, shares))]
    frame = pd.DataFrame(shares).loc[order, [FANOVA, PED_ANOVA]]
    axis = Figure(figsize=(5.0, 1.0 + 0.36 * len(frame))).subplots()
    frame.plot.barh(ax=axis, color=[PALETTE[4], PALETTE[0]], width=0.76)
    for bars in axis.containers:
        axis.bar_label(cast(BarContainer, bars), fmt="%.2f", padding=3, fontsize=7.5)
    axis.grid(axis="y", visible=False)
    axis.margins(x=0.13)
    axis.set(xlabel="share of the importance", ylabel="")
    text = (
        "Importance for the first objective. PED-ANOVA: how far settings of the best tenth of the "
        "trials (at least five) differ from all. fANOVA: variance that a random forest explains. "
        "From few trials both are rough; shares of one sum move together"
    )
    return _finished(axis), "which hyperparameters mattered", text


def slices(study: Study) -> Drawn:
    """The first objective against each hyperparameter."""
    from optuna.visualization.matplotlib import plot_slice

    if not study.complete:
        return None
    rebuilt, title = rebuild(study), axis_title(study)
    shown = sorted(study.hyperparameters, key=lambda one: one.words)  # in Optuna's order
    drawn: Any = plot_slice(rebuilt, [one.words for one in shown], target_name=title)
    axes = np.ravel(drawn)
    rows, columns = -(-len(axes) // COLUMNS), min(COLUMNS, len(axes))
    figure = axes[0].figure
    figure.suptitle("")
    figure.set_size_inches(2.4 * columns + 1, 2.4 * rows)
    grid = figure.add_gridspec(rows, columns)  # Optuna's is one row, however long
    for place, (axis, one) in enumerate(zip(axes, shown, strict=True)):
        row, column = divmod(place, COLUMNS)
        axis.set_subplotspec(grid[row, column])
        axis.set_ylabel("" if column else title)
        axis.tick_params(labelleft=not column)
        for index, style in _marked(study):
            x: Any = rebuilt.trials[study.complete[index].number].params[one.words]
            axis.plot([repr(x) if one.choices else x], [values_of(study)[index]], **style)
    text = f"The first objective against each hyperparameter, complete trials only. {CUT}"
    return _finished(axes[0]), "value by hyperparameter", text


def contour(study: Study) -> Drawn:
    """The first objective over the two hyperparameters with a range that matter the most.

    Not over two shares of one sum, of which some pairs can't be: those are in the triangle.
    """
    from optuna.visualization.matplotlib import plot_contour

    ranges = [h for h in _by_importance(study, importances(study)) if not h.choices]
    others = [one for one in ranges[1:] if not one.simplex or one.simplex != ranges[0].simplex]
    if not others:
        return None
    names = sorted((ranges[0].words, others[0].words))  # in Optuna's order
    rebuilt = rebuild(study)
    axis: Any = plot_contour(rebuilt, names, target_name=axis_title(study))
    for place, style in _marked(study):
        params = rebuilt.trials[study.complete[place].number].params
        axis.plot(*([params[name]] for name in names), **style)
    text = (
        "The first objective over the two hyperparameters with a range that matter the most; "
        "interpolated between the trials, which is no measurement"
    )
    return _finished(axis), "value by the two that matter most", text


def ternary(study: Study) -> Drawn:
    """The first objective over three shares of one sum, in a triangle."""
    import mpltern  # noqa: F401  # registers the projection

    names = dict.fromkeys(one.simplex for one in study.hyperparameters if one.simplex)
    groups = [[one for one in study.hyperparameters if one.simplex == name] for name in names]
    group = next((one for one in groups if len(one) == 3), None)
    if group is None or not study.complete:
        return None
    shares = [[trial.settings[one.name] for one in group] for trial in study.complete]
    points = 100 * np.array(shares) / np.sum(shares, axis=1, keepdims=True)  # (n,3)
    values = values_of(study)  # (n,)
    colours: Any = {"cmap": "Blues" if study.directions[0] > 0 else "Blues_r"}
    axis: Any = Figure(figsize=(5.0, 3.8)).add_subplot(projection="ternary", ternary_sum=100.0)
    unique, index = np.unique(np.round(points, 9), axis=0, return_inverse=True)
    if len(unique) >= FEWEST_POINTS and np.ptp(values) > 0:
        means = np.bincount(index.ravel(), values) / np.bincount(index.ravel())
        with contextlib.suppress(RuntimeError, ValueError):  # points that lie on a line
            axis.tricontourf(*unique.T, means, levels=8, **colours)
    dots = axis.scatter(*points.T, c=values, edgecolors="grey", zorder=4, **colours)
    for place, style in _marked(study):
        axis.plot(*points[[place]].T, **style)
    for side, one in zip("tlr", group, strict=True):
        getattr(axis, f"set_{side}label")(f"{one.words}, %")
    axis.figure.colorbar(dots, ax=axis, label=axis_title(study), shrink=0.8, pad=0.1)
    text = (
        "The first objective over three shares of a fixed sum, each with all of it at its own "
        "corner; interpolated between the trials, which is no measurement"
    )
    return _finished(axis), "value by three shares", text


def reports(study: Study) -> Drawn:
    """The values that trials reported while they were trained, where some were pruned by them."""
    from optuna.visualization.matplotlib import plot_intermediate_values

    rebuilt = rebuild(study)
    shown = [t for t in rebuilt.trials if t.intermediate_values and t.state.name != "FAIL"]
    if not any(trial.state.name == "PRUNED" for trial in shown):
        return None
    axis = plot_intermediate_values(rebuilt)
    for line, trial in zip(axis.lines, shown, strict=True):
        name = trial.state.name.lower()
        line.set(label=name, color=PALETTE[name == "pruned"], zorder=2 + (name == "pruned"))
    values = [value for trial in shown for value in trial.intermediate_values.values()]
    low, high = bounds(values, study.directions[0])
    room = 0.06 * (high - low) or 0.5
    axis.set(xlabel="report", ylabel=axis_title(study), ylim=(low - room, high + room))
    axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    text = "The first objective while trials were trained; the line of a pruned one ends early"
    return _finished(axis), "reports during training", f"{text}. {CUT}"


def pareto(study: Study) -> Drawn:
    """Both objectives of a study with two, and the front."""
    from optuna.visualization.matplotlib import plot_pareto_front

    if len(study.objectives) != 2 or not study.complete:
        return None
    titles = [
        f"{axis_title(study, i)} ({'more is better' if way > 0 else 'less is better'})"
        for i, way in enumerate(study.directions)
    ]
    axis = plot_pareto_front(rebuild(study, 2), target_names=titles)
    for dots in axis.collections:
        front = dots.get_label() == "Best Trial"
        dots.set(color=PALETTE[front], label="front" if front else "trial")
    for place, style in _marked(study, best=False):
        axis.plot(*([values_of(study, i)[place]] for i in range(2)), **style)
    text = (
        "Both objectives of the complete trials. Front: the trials that no other is as good as in "
        f"both and better in one. {CUT}"
    )
    return _finished(axis), "what one objective costs the other", text


MAKERS: dict[str, Callable[[Study], Drawn]] = {
    "history": history,
    "importance": importance,
    "slice": slices,
    "contour": contour,
    "ternary": ternary,
    "reports": reports,
    "pareto": pareto,
}


def axis_title(study: Study, objective: int = 0) -> str:
    """An objective with its unit."""
    metric = OBJECTIVES[study.objectives[objective]]
    return f"{metric.title}, %" if metric.percent else metric.title


def _marked(study: Study, best: bool = True) -> list[tuple[int, Any]]:
    """Places among the complete trials of the default settings and of the best, with markers."""
    marked = [(study.default, _DEFAULT)] + ([(study.best, _BEST)] if best else [])
    return [(study.complete.index(one), style) for one, style in marked if one is not None]


def _finished(axis: Any) -> Figure:
    """The figure of these axes with one legend above the panels, without what Optuna wrote."""
    from matplotlib import pyplot

    figure = axis.figure
    pyplot.close(figure)
    figure.set_layout_engine("constrained")  # histories and reports come with another one
    axis.set_title("")
    named: dict[str, Any] = {}
    for panel in figure.axes:
        named |= dict(zip(*reversed(panel.get_legend_handles_labels()), strict=True))
        if panel.get_legend():
            panel.get_legend().remove()
    named.pop("Infeasible Trial", None)  # of constraints, which a search doesn't have
    if named:
        figure.legend(named.values(), named.keys(), loc="outside upper right", ncols=len(named))
    return figure
