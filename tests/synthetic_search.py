"""Searches as `tune` would leave them, made up, and figures to look into."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from compact_bench.tune.report import figures
from compact_bench.tune.trials import COMPLETE, Hyperparameter, Search, Study, Trial

RATE = Hyperparameter("learning_rate", 5e-4, choices=(2.5e-4, 5e-4, 1e-3))
SHARES = tuple(
    Hyperparameter(f"beta_{name}", default, simplex="beta", total=2.5)
    for name, default in (("adaptability", 1.0), ("consensus", 1.0), ("difficulty", 0.5))
)
TEMPERATURE = Hyperparameter("temperature", 1.0, 0.1, 10.0, log=True)
FLOOR, MIX = Hyperparameter("floor", 0.0, 0.0, 0.5), Hyperparameter("mix", 1.0, 0.0, 1.0)
SPACE = (RATE, *SHARES, TEMPERATURE, FLOOR, MIX)
SUITE = {
    "suite": "gsm8k", "profile": "mini", "title": "Which teacher?", "limit": None,
    "student": {"id": "nano", "dtype": "float32", "lora": None},
    "data": {"source": "mini", "teachers": ["terse", "sentences"], "train": 400},
    "notes": "generated problems, nano student: not the data set's numbers",
}  # fmt: skip


def drawn(space: Sequence[Hyperparameter], count: int, seed: int = 0) -> list[dict[str, float]]:
    """Settings as a random search would try them, the defaults first."""
    draw = np.random.default_rng(seed)
    rows = [{one.name: one.default for one in space}]
    for _ in range(count - 1):
        weights = dict(zip(SHARES, draw.dirichlet([1, 1, 1]), strict=True))
        row = {}
        for one in space:
            if one.simplex:
                row[one.name] = float(2.5 * weights[one])
            elif one.choices:
                row[one.name] = float(draw.choice(one.choices))
            elif one.log:
                row[one.name] = math.exp(draw.uniform(math.log(one.low), math.log(one.high)))
            else:
                row[one.name] = float(draw.uniform(one.low, one.high))
        rows.append(row)
    return rows[:count]


def study(
    space: Sequence[Hyperparameter] = SPACE,
    values: Sequence[tuple[float, ...]] = (),
    label: str = "ours",
    objectives: tuple[str, ...] = ("marginal_nll",),
) -> Study:
    """A study whose complete trials have these values."""
    trials = [
        Trial(number, COMPLETE, chosen, tuple(value), own=number == 0)
        for number, (chosen, value) in enumerate(
            zip(drawn(space, len(values)), values, strict=True)
        )
    ]
    return Study(
        label, "m", objectives, "TPE", "median", 7, (0, 1), tuple(space), tuple(trials)
    )  # fmt: skip


def made(
    of: Callable[[dict[str, float]], float],
    count: int = 60,
    space: Sequence[Hyperparameter] = SPACE,
) -> Study:
    """A study whose first objective is a function of the settings."""
    return study(space, [(of(chosen),) for chosen in drawn(space, count)])


def bowl(chosen: dict[str, float]) -> float:
    """A value that has its best in the midst of the shares."""
    return 1.6 + sum((chosen[one.name] - 0.8) ** 2 for one in SHARES)


def names(*studies: Study) -> list[str]:
    """Names of the figures of these studies."""
    return [picture.name for picture in figures.build(Search(SUITE, studies))]


def with_state(one: Study, number: int, state: str, **changes: object) -> Study:
    """The study with one trial in another state, without values."""
    trials = list(one.trials)
    trials[number] = replace(trials[number], state=state, values=(), **changes)
    return replace(one, trials=tuple(trials))
