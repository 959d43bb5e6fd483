"""The knob that matters is found, and where there is too little to say so nothing is said."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from compact_bench.tune.report import importance
from compact_bench.tune.trials import Hyperparameter
from tests.synthetic_search import FLOOR, KNOBS, MIX, NAN, TEMPERATURE, bowl, made, names, study


@pytest.mark.parametrize("knob", KNOBS, ids=lambda knob: knob.name)
@pytest.mark.parametrize("better", ["accuracy", "marginal_nll"])
def test_the_knob_that_alone_matters_is_the_most_important(
    knob: Hyperparameter, better: str
) -> None:
    sign = 1 if better == "accuracy" else -1
    noise = np.random.default_rng(1)  # else a knob of three choices gives three values only

    def value(chosen: dict[str, float]) -> float:
        at, top = chosen[knob.name], knob.choices[-1] if knob.choices else knob.high
        part = math.log10(at) if knob.log else at / (knob.total if knob.simplex else top)
        return sign * (part + 1e-3 * noise.normal())

    found = importance.importances(replace(made(value, 100), objectives=(better,)))
    assert set(found) == {importance.PED_ANOVA, importance.FANOVA}
    for kind, by_knob in found.items():
        assert max(by_knob, key=by_knob.__getitem__) == knob.name, (kind, by_knob)
        assert sum(by_knob.values()) == pytest.approx(1)
        assert set(by_knob) == {one.name for one in KNOBS}


def test_a_logarithmic_knob_matters_where_only_its_low_decades_do() -> None:
    # On a linear axis 0.1 to 0.5 is 4% of the range; it is a third of the decades.
    found = importance.importances(
        made(lambda chosen: float(chosen["temperature"] < 0.5), 80, (TEMPERATURE, FLOOR, MIX))
    )
    assert found == {}  # two different values are too few

    def value(chosen: dict[str, float]) -> float:
        return min(math.log(chosen["temperature"] / 0.5), 0.0) + 0.2 * chosen["mix"]

    found = importance.importances(made(value, 80, (TEMPERATURE, FLOOR, MIX)))
    for by_knob in found.values():
        assert by_knob["temperature"] > 0.6


@pytest.mark.parametrize("objective", ["marginal_nll", "accuracy"])
def test_ped_anova_asks_what_makes_the_best_trials_and_not_the_worst(objective: str) -> None:
    sign = 1 if objective == "marginal_nll" else -1

    def value(chosen: dict[str, float]) -> float:
        # Only much of mix is good; what is bad without it depends on floor.
        return sign * ((-3.0 if chosen["mix"] > 0.8 else 0.0) + 4 * chosen["floor"])

    one = replace(made(value, 80, (FLOOR, MIX)), objectives=(objective,))
    by_knob = importance.importances(one)[importance.PED_ANOVA]
    assert by_knob["mix"] > by_knob["floor"]


def test_a_diverged_trial_is_not_all_that_matters() -> None:
    knobs = (TEMPERATURE, FLOOR, MIX)
    one = made(lambda chosen: math.log10(chosen["temperature"]), 40, knobs)
    odd = max(one.trials, key=lambda trial: trial.settings["mix"]).number
    trials = list(one.trials)
    trials[odd] = replace(trials[odd], values=(1e4,))
    found = importance.importances(replace(one, trials=tuple(trials)))
    for by_knob in found.values():
        assert by_knob["temperature"] > 0.5


@pytest.mark.parametrize(
    "values",
    [[1.0, 2.0, 3.0], [1.0, 1.0, 2.0, 2.0, 3.0, 3.0], [1.0, NAN, NAN, 2.0, 3.0], [5.0] * 10],
)
def test_too_few_trials_have_no_importance(values: list[float]) -> None:
    one = study(values=[(value,) for value in values])
    assert importance.importances(one) == {}
    assert "tune_importance" not in names(one)


def test_settings_outside_the_searched_range_have_an_importance() -> None:
    one = made(bowl, 12)
    outside = {**one.trials[0].settings, "floor": 0.9, "learning_rate": 3e-3}
    one = replace(one, trials=(replace(one.trials[0], settings=outside), *one.trials[1:]))
    found = importance.importances(one)
    assert all(np.isfinite([*by_knob.values()]).all() for by_knob in found.values())
    assert len(found) == 2
