"""A search as plain values: studies, trials and hyperparameters, and the file that holds them."""

from __future__ import annotations

import json
import math
import operator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from compact_bench.errors import UserError
from compact_bench.suite.metrics import METRICS, Metric
from compact_bench.utils.files import write_json

FILE, STORAGE = "trials.json", "studies.journal"

LEARNING_RATE = "learning_rate"

# What can be searched for. Old questions of the forgetting tasks, other ones than the report's.
OLD_ACCURACY = "old_accuracy"

OBJECTIVES: dict[str, Metric] = {
    "marginal_nll": METRICS["marginal_nll"],
    "accuracy": METRICS["accuracy"],
    OLD_ACCURACY: Metric("accuracy on old tasks", 1, True),
}

COMPLETE, PRUNED, FAILED = "complete", "pruned", "failed"


@dataclass(frozen=True)
class Hyperparameter:
    """One setting that is searched.

    low, high: its range; log: searched on a logarithmic scale; integer: whole numbers only.
    choices: the only values, where it has no range. simplex: those of one name here are shares of
    the fixed sum `total`, so that their scale is no setting of its own. default: the method's own.
    """

    name: str
    default: int | float
    low: float = math.nan
    high: float = math.nan
    log: bool = False
    integer: bool = False
    choices: tuple[float, ...] = ()
    simplex: str = ""
    total: float = math.nan

    @property
    def words(self) -> str:
        """The name in words."""
        return self.name.replace("_", " ")


@dataclass(frozen=True)
class Trial:
    """One try: its settings, its values by objective (means over its seeds), and what it cost.

    state: one of COMPLETE, PRUNED (stopped early, or diverged), FAILED. reports: (step, value) of
    the first objective during training. tokens, flops: of training. seconds: of the whole trial.
    retry_of: the number of a trial that died with the same settings, or None. own: whether these
    are the row's own settings.
    """

    number: int
    state: str
    settings: dict[str, int | float]
    values: tuple[float, ...] = ()
    reports: tuple[tuple[int, float], ...] = ()
    tokens: float = 0.0
    flops: float = 0.0
    seconds: float = 0.0
    reason: str = ""
    retry_of: int | None = None
    own: bool = False


@dataclass(frozen=True)
class Study:
    """All trials of one row, by number. over: whether as many are finished as were asked for."""

    label: str
    method: str
    objectives: tuple[str, ...]
    sampler: str
    pruner: str
    seed: int
    seeds: tuple[int, ...]
    hyperparameters: tuple[Hyperparameter, ...]
    trials: tuple[Trial, ...] = ()
    over: bool = True

    @property
    def finished(self) -> list[Trial]:
        """Those that count: complete or pruned, in the order of their numbers."""
        return [trial for trial in self.trials if trial.state in (COMPLETE, PRUNED)]

    @property
    def complete(self) -> list[Trial]:
        """Those that were trained to the end; their values are finite."""
        return [trial for trial in self.trials if trial.state == COMPLETE]

    @property
    def directions(self) -> tuple[int, ...]:
        """1 where more is better, -1 where less is, by objective."""
        return tuple(OBJECTIVES[name].better for name in self.objectives)

    @property
    def best(self) -> Trial | None:
        """The complete trial of the best first objective, the first of equal ones."""
        sign = self.directions[0]
        return max(self.complete, key=lambda one: sign * one.values[0], default=None)

    @property
    def front(self) -> list[Trial]:
        """The complete trials that no other is as good as in every objective and better in one.

        Of trials with equal values the first stays. Sorted by the first objective, best first.
        """
        trials: dict[tuple[float, ...], Trial] = {}  # by values that are better where they are more
        for trial in self.complete:
            trials.setdefault(tuple(map(operator.mul, self.directions, trial.values)), trial)

        def beaten(own: tuple[float, ...]) -> bool:
            return any(other != own and all(map(operator.ge, other, own)) for other in trials)

        return [trials[scores] for scores in sorted(trials, reverse=True) if not beaten(scores)]

    @property
    def default(self) -> Trial | None:
        """The first complete trial of the row's own settings."""
        return next((trial for trial in self.complete if trial.own), None)


@dataclass(frozen=True)
class Search:
    """All studies of one `tune` command. suite: the resolved suite. notes: of its data."""

    suite: dict[str, Any]
    studies: tuple[Study, ...]
    notes: tuple[str, ...] = ()


def write(folder: Path, search: Search) -> Path:
    """Write trials.json."""
    return write_json(folder / FILE, asdict(search))


def read(folder: Path) -> Search:
    """Read trials.json. Raises UserError where there is none or it isn't one."""
    path = folder / FILE
    try:
        content = json.loads(path.read_text("utf-8"))
        for study in content["studies"]:
            searched = study.pop("knobs", None) or study["hyperparameters"]  # knobs: of older ones
            # JSON has no NaN: a bound that isn't there was written as null.
            study["hyperparameters"] = [
                {key: value for key, value in one.items() if value is not None} for one in searched
            ]
        return TypeAdapter(Search).validate_python(content)
    except FileNotFoundError as error:
        raise UserError(f"nothing was tuned in {folder}: run tune first") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"cannot read {path}: {reason}") from error
