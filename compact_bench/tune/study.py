"""Optuna's studies: storage, samplers, pruners, and trials that several processes share.

A trial's draw depends on what finished before it, the sampler's seed and its rank among the trials
that count, and on nothing that a process remembers: so a search that was killed goes on as if it
had not been.
"""

from __future__ import annotations

import itertools
import json
import math
import random
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import NSGAIISampler, PartialFixedSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from compact_bench.errors import UserError
from compact_bench.records.cells import without_paths
from compact_bench.suite.sections import TuneSpec
from compact_bench.tune import trials as records
from compact_bench.tune.presence import Presence
from compact_bench.tune.space import Space, defaults, distributions, grid_values, settings
from compact_bench.tune.trials import OBJECTIVES

ASKED, WORKER, RETRY, FACTS, REASON = "asked", "worker", "retry_of", "facts", "reason"

COUNTED = (TrialState.COMPLETE, TrialState.PRUNED)

STARTUP = 5  # trials that nothing is pruned before

MOST_GRID = 100_000

STATES = {
    TrialState.COMPLETE: records.COMPLETE,
    TrialState.PRUNED: records.PRUNED,
    TrialState.FAIL: records.FAILED,
}


def open_storage(url: str | None, folder: Path) -> optuna.storages.BaseStorage:
    """The storage at `url`, or the journal file in `folder`.

    Raises UserError where it can't be reached; a password in the URL isn't told.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    if url is None:
        folder.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(str(folder / records.STORAGE)))
    try:
        return optuna.storages.RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
    except Exception as error:
        raise unreachable(url, error) from None


def unreachable(url: str | None, error: Exception) -> UserError:
    """One line that says which storage, without its password, and why."""
    return UserError(f"can't reach the storage {without_password(url)}: {_first_line(error, url)}")


def without_password(url: str | None) -> str:
    """The URL of a storage as it may be shown and recorded."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    if url is None:
        return records.STORAGE
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return "(not a URL of SQLAlchemy's)"


def _first_line(error: Exception, url: str | None) -> str:
    from sqlalchemy.engine import make_url

    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    text = " ".join(str(cause).split()) or type(cause).__name__
    try:
        secret = make_url(url).password if url else None
    except Exception:
        secret = None
    return text.replace(str(secret), "***") if secret else text


@dataclass
class Shared:
    """One row's study. rank: how many trials that count came before; total: how many are wanted."""

    study: Study
    space: Space
    spec: TuneSpec
    presence: Presence

    @property
    def grid(self) -> int:
        """Values of each range, for the grid sampler; else 0."""
        return self.spec.grid if self.spec.sampler == "grid" else 0

    @property
    def total(self) -> int:
        """How many trials are to finish: those asked for, or all points of the grid."""
        if not self.grid:
            return self.spec.trials
        sizes = [len(knob.choices or grid_values(knob, self.grid)) for knob in self.space]
        return min(self.spec.trials, math.prod(sizes))

    def all(self) -> list[FrozenTrial]:
        """Every trial, by number."""
        return self.study.get_trials(deepcopy=False)

    def finished(self) -> list[FrozenTrial]:
        """The trials that count."""
        return [trial for trial in self.all() if trial.state in COUNTED]

    def tokens(self) -> float:
        """Training tokens of all trials so far."""
        return math.fsum(float(t.user_attrs.get(FACTS, {}).get("tokens", 0)) for t in self.all())

    @property
    def enough(self) -> bool:
        """Whether what was asked for is finished, or the tokens are spent."""
        spent = self.spec.tokens is not None and self.tokens() >= self.spec.tokens
        return len(self.finished()) >= self.total or spent

    def ask(self) -> optuna.Trial | None:
        """A new trial with its draw, or None while those that run may be all that are wanted."""
        self.bury()
        running = [trial for trial in self.all() if trial.state == TrialState.RUNNING]
        if self.enough or len(self.finished()) + len(running) >= self.total:
            return None
        trial = self.study.ask()
        trial.set_user_attr(WORKER, self.presence.name)
        rank = self._rank(trial.number)
        if rank >= self.total:  # another process asked at the same moment
            self.study.tell(trial, state=TrialState.FAIL)
            return None
        self.study.sampler = self._sampler(rank)
        for name, one in distributions(self.space, self.grid).items():
            if isinstance(one, CategoricalDistribution):
                trial.suggest_categorical(name, one.choices)
            elif isinstance(one, IntDistribution):
                trial.suggest_int(name, one.low, one.high, log=one.log)
            elif isinstance(one, FloatDistribution):
                trial.suggest_float(name, one.low, one.high, log=one.log)
        return trial

    def _rank(self, number: int) -> int:
        counted = (*COUNTED, TrialState.RUNNING)
        return sum(trial.state in counted and trial.number < number for trial in self.all())

    def _sampler(self, rank: int) -> optuna.samplers.BaseSampler:
        """The sampler of one trial; the first takes the method's own settings."""
        seed = random.Random(f"{self.spec.seed} {rank}").randrange(2**31)
        free = {
            "tpe": lambda: TPESampler(seed=seed),
            "nsga2": lambda: NSGAIISampler(seed=seed),
        }.get(self.spec.sampler, lambda: RandomSampler(seed=seed))()
        if self.grid:
            return PartialFixedSampler(self._point(rank), free)
        return PartialFixedSampler(defaults(self.space), free) if rank == 0 else free

    def _point(self, rank: int) -> dict[str, Any]:
        """A point of the grid, in an order that the seed shuffles, the defaults' first.

        Of a grid too large to list, distinct points are drawn.
        """
        first = defaults(self.space, self.grid)
        values = [knob.choices or grid_values(knob, self.grid) for knob in self.space]
        draw = random.Random(self.spec.seed)
        size = math.prod(map(len, values))
        places = draw.sample(range(size), min(size, self.total + 1))
        names = [knob.name for knob in self.space]
        points = (dict(zip(names, _place(at, values), strict=True)) for at in places)
        others = (point for point in points if point != first)
        return next(itertools.islice(itertools.chain([first], others), rank, None))

    def bury(self) -> None:
        """Fail the trials whose process is gone, and have their draws tried again."""
        for trial in self.all():
            if trial.state != TrialState.RUNNING:
                continue
            worker = str(trial.user_attrs.get(WORKER, ""))
            if not self.presence.gone(worker, self.study):
                continue
            try:
                self.study.tell(trial.number, state=TrialState.FAIL)
            except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
                continue  # another process was first
            if len(trial.params) == len(self.space):
                self.study.enqueue_trial(trial.params, user_attrs={RETRY: trial.number})

    def settings(self, trial: optuna.Trial | FrozenTrial) -> dict[str, float]:
        """The settings that a trial's draw stands for."""
        return settings(self.space, trial.params)

    def give_up(self, trial: optuna.Trial, reason: str, again: bool) -> None:
        """Fail a trial; `again`: its draw is to be tried by whoever comes next."""
        trial.set_user_attr(REASON, without_paths(reason))
        self.study.tell(trial, state=TrialState.FAIL)
        if again:
            self.study.enqueue_trial(trial.params, user_attrs={RETRY: trial.number})


def _place(at: int, values: Sequence[Sequence[float]]) -> list[float]:
    """The point of a grid by its number, the last setting varying fastest."""
    found = []
    for options in reversed(values):
        at, index = divmod(at, len(options))
        found.append(options[index])
    return found[::-1]


def open_study(
    storage: optuna.storages.BaseStorage,
    name: str,
    space: Space,
    spec: TuneSpec,
    asked: Mapping[str, Any],
    presence: Presence,
) -> Shared:
    """Make the study, or go on with it. asked: all that decides what its trials mean.

    Raises UserError where the study of this name asked something else.
    """
    minimize = [OBJECTIVES[one].better < 0 for one in spec.objective]
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        directions=["minimize" if less else "maximize" for less in minimize],
        pruner=_pruner(spec),
        load_if_exists=True,
    )
    known = study.user_attrs.get(ASKED)
    wanted = json.loads(json.dumps(asked, sort_keys=True))
    if known is None:
        study.set_user_attr(ASKED, wanted)
    elif known != wanted:
        key = next(k for k in {**known, **wanted} if known.get(k) != wanted.get(k))
        raise UserError(
            f"the study {name!r} was begun with {_change(key, known.get(key), wanted.get(key))}; "
            "give the new one another name with --study"
        )
    presence.beat(study)
    return Shared(study, space, spec, presence)


def _change(key: str, old: Any, new: Any) -> str:
    """Say the first difference between what was asked and what is asked now."""
    if isinstance(old, dict) and isinstance(new, dict):
        inner = next(k for k in {**old, **new} if old.get(k) != new.get(k))
        return _change(f"{key}.{inner}", old.get(inner), new.get(inner))
    return f"{key} {old!r}, not {new!r}"


def _pruner(spec: TuneSpec) -> optuna.pruners.BasePruner:
    if spec.pruner == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_min_trials=STARTUP)
    if spec.pruner == "asha":  # half go on from each rung: there are few reports in a training
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2)
    return optuna.pruners.NopPruner()


def recorded(shared: Shared) -> tuple[records.Trial, ...]:
    """The study's trials as plain values; those that run are left out."""
    own = defaults(shared.space, shared.grid)
    found = []
    for trial in shared.all():
        if trial.state not in STATES or len(trial.params) < len(shared.space):
            continue
        facts = trial.user_attrs.get(FACTS, {})
        start, end = trial.datetime_start, trial.datetime_complete
        values = trial.values if trial.state == TrialState.COMPLETE else None
        found.append(
            records.Trial(
                trial.number,
                STATES[trial.state],
                shared.settings(trial),
                tuple(values or ()),
                tuple(sorted(trial.intermediate_values.items())),
                float(facts.get("tokens", 0)),
                float(facts.get("flops", 0)),
                (end - start).total_seconds() if start and end else 0.0,
                str(trial.user_attrs.get(REASON, "")),
                trial.user_attrs.get(RETRY),
                trial.params == own,
            )
        )
    return tuple(found)
