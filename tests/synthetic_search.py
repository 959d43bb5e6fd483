"""Searches as `tune` would leave them, made up, and figures to look into."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from compact_bench.tune.report import figures, fronts, importance, shares
from compact_bench.tune.trials import COMPLETE, Hyperparameter, Search, Study, Trial

NAN = float("nan")
RATE = Hyperparameter("learning_rate", 5e-4, choices=(2.5e-4, 5e-4, 1e-3))
SHARES = tuple(
    Hyperparameter(f"beta_{name}", default, simplex="beta", total=2.5)
    for name, default in (("adaptability", 1.0), ("consensus", 1.0), ("difficulty", 0.5))
)
TEMPERATURE = Hyperparameter("temperature", 1.0, 0.1, 10.0, log=True)
FLOOR, MIX = Hyperparameter("floor", 0.0, 0.0, 0.5), Hyperparameter("mix", 1.0, 0.0, 1.0)
KNOBS = (RATE, *SHARES, TEMPERATURE, FLOOR, MIX)
SUITE = {
    "suite": "gsm8k", "profile": "mini", "title": "Which teacher?", "limit": None,
    "student": {"id": "nano", "dtype": "float32", "lora": None},
    "data": {"source": "mini", "teachers": ["terse", "sentences"], "train": 400},
    "notes": "generated problems, nano student: not the data set's numbers",
}  # fmt: skip


def drawn(knobs: Sequence[Hyperparameter], count: int, seed: int = 0) -> list[dict[str, float]]:
    """Settings as a random search would try them, the defaults first."""
    draw = np.random.default_rng(seed)
    found = [{knob.name: knob.default for knob in knobs}]
    for _ in range(count - 1):
        weights = dict(zip(SHARES, draw.dirichlet([1, 1, 1]), strict=True))
        one = {}
        for knob in knobs:
            if knob.simplex:
                one[knob.name] = float(2.5 * weights[knob])
            elif knob.choices:
                one[knob.name] = float(draw.choice(knob.choices))
            elif knob.log:
                one[knob.name] = math.exp(draw.uniform(math.log(knob.low), math.log(knob.high)))
            else:
                one[knob.name] = float(draw.uniform(knob.low, knob.high))
        found.append(one)
    return found[:count]


def study(
    knobs: Sequence[Hyperparameter] = KNOBS,
    values: Sequence[tuple[float, ...]] = (),
    label: str = "ours",
    objectives: tuple[str, ...] = ("marginal_nll",),
) -> Study:
    """A study whose complete trials have these values."""
    trials = [
        Trial(number, COMPLETE, chosen, tuple(value), own=number == 0)
        for number, (chosen, value) in enumerate(
            zip(drawn(knobs, len(values)), values, strict=True)
        )
    ]
    return Study(
        label, "m", objectives, "TPE", "median", 7, (0, 1), tuple(knobs), tuple(trials)
    )  # fmt: skip


def made(
    of: Callable[[dict[str, float]], float],
    count: int = 60,
    knobs: Sequence[Hyperparameter] = KNOBS,
) -> Study:
    """A study whose first objective is a function of the settings."""
    return study(knobs, [(of(chosen),) for chosen in drawn(knobs, count)])


def bowl(chosen: dict[str, float]) -> float:
    """A value that has its best in the midst of the shares."""
    return 1.6 + sum((chosen[knob.name] - 0.8) ** 2 for knob in SHARES)


def names(*studies: Study) -> list[str]:
    """Names of the figures of these studies."""
    return [picture.name for picture in figures.build(Search(SUITE, studies))]


def with_state(one: Study, number: int, state: str, **changes: object) -> Study:
    """The study with one trial in another state, without values."""
    trials = list(one.trials)
    trials[number] = replace(trials[number], state=state, values=(), **changes)
    return replace(one, trials=tuple(trials))


def keep_figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Have figures kept here and not written."""
    found: list[Figure] = []

    def keep(figure: Figure) -> dict[str, bytes]:
        found.append(figure)
        return {"svg": b""}

    for module in (figures, fronts, importance, shares):
        monkeypatch.setattr(module, "render", keep)
    return found
