"""Which knob mattered: PED-ANOVA and fANOVA on a study rebuilt from the plain trials."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from compact_bench.report.parts.style import PALETTE, STYLE, Picture, render
from compact_bench.tune.report.captions import caption, left_out
from compact_bench.tune.report.panels import (
    BEYOND,
    bounds,
    drawable,
    legend,
    panels,
    readable,
    settings,
    title,
    values,
)
from compact_bench.tune.trials import Hyperparameter, Search, Study

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

FEWEST = 4  # complete trials, and different values among them

PED_ANOVA, FANOVA = "PED-ANOVA", "fANOVA"

_COLOURS = {PED_ANOVA: PALETTE[0], FANOVA: PALETTE[4]}

_BEST_SHARE, _BEST_COUNT = 0.1, 5  # what PED-ANOVA calls good: Optuna's share, its least count


def importances(study: Study) -> dict[str, dict[str, float]]:
    """Each knob's share of the importance for the first objective, by evaluator.

    Shares are >= 0 and sum to 1. Empty where there are fewer than FEWEST trials with a value and
    all settings, fewer different values, or a single knob. Knobs of a sum enter as their shares
    of it, logarithmic ones as logarithms, which fANOVA wouldn't take by itself. Values worse by far
    are cut at the `bounds`.

    PED-ANOVA: Watanabe et al., IJCAI 2023. fANOVA: Hutter et al., ICML 2014.
    """
    points, found = _table(study)
    if len(found) < FEWEST or len(np.unique(found)) < FEWEST or len(study.knobs) < 2:
        return {}
    from optuna import importance as evaluators

    # A trial that diverged would be all the variance that there is to explain.
    found = np.clip(found, *bounds(found, study.directions[0]))
    best = min(0.5, max(_BEST_SHARE, _BEST_COUNT / len(found)))
    ped = evaluators.PedAnovaImportanceEvaluator(target_quantile=best)
    fanova = evaluators.FanovaImportanceEvaluator(seed=0)
    names = [knob.name for knob in study.knobs]
    with _quiet():
        rebuilt = _rebuilt(study.knobs, points, found, study.directions[0])
        return {
            kind: evaluators.get_param_importances(rebuilt, evaluator=evaluator, params=names)
            for kind, evaluator in ((PED_ANOVA, ped), (FANOVA, fanova))
        }


def _table(study: Study) -> tuple[np.ndarray, np.ndarray]:
    """(n,k) float64 settings and (n,) values of the trials that have all of both."""
    trials = drawable(study).trials
    points = settings(trials, study.knobs)
    for column, knob in enumerate(study.knobs):
        if knob.log:
            points[:, column] = [
                math.log(one) if one > 0 else math.nan for one in points[:, column]
            ]
    whole = np.isfinite(points).all(axis=1)
    return points[whole], values(study, trials)[whole]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna from reporting that a study was created."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _rebuilt(
    knobs: Sequence[Hyperparameter], points: np.ndarray, found: np.ndarray, better: int
) -> optuna.Study:
    """An in-memory study of these trials. points: (n,k); found: (n,)."""
    import optuna

    study = optuna.create_study(direction="maximize" if better > 0 else "minimize")
    domains = {
        knob.name: _domain(knob, points[:, column].tolist()) for column, knob in enumerate(knobs)
    }
    for point, value in zip(points.tolist(), found.tolist(), strict=True):
        params = dict(zip(domains, point, strict=True))
        study.add_trial(
            optuna.trial.create_trial(value=value, params=params, distributions=domains)
        )
    return study


def _domain(knob: Hyperparameter, seen: Sequence[float]) -> BaseDistribution:
    """What the knob is searched in, widened to what was seen: defaults may lie outside of it."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if knob.choices:
        return CategoricalDistribution(sorted({*knob.choices, *seen}))
    low, high = (0.0, knob.total) if knob.simplex else (knob.low, knob.high)
    if knob.log:
        low, high = (math.log(one) if one > 0 else math.nan for one in (low, high))
    ends = [one for one in (low, high, *seen) if math.isfinite(one)]
    return FloatDistribution(min(ends), max(ends))


def importance(search: Search) -> Picture | None:
    """Each study's knobs by importance; None where no study has enough trials and knobs."""
    found = [(study, shares) for study in search.studies if (shares := importances(study))]
    if not found:
        return None
    most = max(len(study.knobs) for study, _ in found)
    with matplotlib.rc_context(STYLE):
        figure, axes = panels(len(found), (4.2, 1.0 + 0.36 * most), 2)
        for axis, (study, shares) in zip(axes, found, strict=True):
            _bars(axis, study.knobs, shares)
            title(axis, study.label)
        square = {"marker": "s", "linewidth": 0}
        legend(figure, [({**square, "color": colour}, kind) for kind, colour in _COLOURS.items()])
        content = render(figure)
    studies = [study for study, _ in found]
    text = caption(
        search,
        studies,
        "Importance of each knob for the first objective, as shares that sum to 1. PED-ANOVA: how "
        "far settings of the best tenth of the trials (at least five, at most half) differ from "
        "those of all. fANOVA: variance that a random forest explains by the knob alone. "
        f"{BEYOND[:1].upper()}{BEYOND[1:]} are cut there. From few "
        "trials both are rough. Shares of one sum move together, so theirs aren't separate",
        left_out(search, studies, "for a single knob or too few trials or different values"),
    )
    return Picture("tune_importance", "Which knobs mattered", text, content)


def _bars(axis: Axes, knobs: Sequence[Hyperparameter], shares: dict[str, dict[str, float]]) -> None:
    def total(knob: Hyperparameter) -> float:
        return sum(by_knob[knob.name] for by_knob in shares.values())

    ordered = sorted(knobs, key=total, reverse=True)
    for shift, (kind, by_knob) in zip((-0.19, 0.19), shares.items(), strict=True):
        widths = [by_knob[knob.name] for knob in ordered]
        places = [place + shift for place in range(len(ordered))]
        axis.barh(places, widths, height=0.36, color=_COLOURS[kind], zorder=2)
        for place, width in zip(places, widths, strict=True):
            axis.annotate(
                f"{width:.2f}", (width, place), xytext=(3, 0), textcoords="offset points",
                va="center", fontsize=7.5, color="#333333",
            )  # fmt: skip
    axis.set_yticks(range(len(ordered)), [readable(knob) for knob in ordered])
    axis.set_ylim(len(ordered) - 0.5, -0.5)
    axis.set_xlim(0, 1.13 * max(max(by_knob.values()) for by_knob in shares.values()))
    axis.grid(axis="y", visible=False)
    axis.set_xlabel("share of the importance")
