"""Optuna's studies: storage, samplers, pruners, and trials that several processes share.

A trial's draw depends on what finished before it, the sampler's seed and its rank among the trials
that count, and on nothing that a process remembers: so a search that was killed goes on as if it
had not been.
"""

from __future__ import annotations

import ast
import contextlib
import math
import os
import random
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, urlsplit

import filelock
import numpy as np
import optuna
from optuna.samplers import NSGAIISampler, PartialFixedSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from compact_bench.errors import UserError
from compact_bench.records.cells import without_paths
from compact_bench.suite.sections import TuneSpec
from compact_bench.tune import trials as records
from compact_bench.tune.presence import Presence
from compact_bench.tune.space import Space, defaults, grid_space, settings, suggest
from compact_bench.tune.trials import OBJECTIVES
from compact_bench.utils.files import plain

# Names of what is stored with a study and its trials.
MEANING, WORKER, RETRY, FACTS, REASON = "asked", "worker", "retry_of", "facts", "reason"

# What a storage raises that went away.
STORAGE_ERRORS = (SQLAlchemyError, optuna.exceptions.StorageInternalError)

COUNTED = (TrialState.COMPLETE, TrialState.PRUNED)

STARTUP = 5  # trials that nothing is pruned before

STATES = {
    TrialState.COMPLETE: records.COMPLETE,
    TrialState.PRUNED: records.PRUNED,
    TrialState.FAIL: records.FAILED,
}


def open_storage(url: str | None, folder: Path) -> optuna.storages.BaseStorage:
    """The storage at `url`, or the journal file in `folder`.

    Raises UserError, without the URL's password, where it can't be reached.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    if url is None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / records.STORAGE
        lock = JournalLock(path)
        _mend(path, lock)
        return JournalStorage(JournalFileBackend(str(path), lock))
    try:
        return optuna.storages.RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
    except Exception as error:
        raise UserError(unreachable(url, error)) from None


class JournalLock(JournalFileOpenLock):
    """The journal's lock, which the system releases when its owner dies.

    Optuna's own stays after a kill, and all others then wait 30 seconds.
    """

    def __init__(self, path: Path) -> None:
        self._lock = filelock.FileLock(path.with_name(f".{path.name}.lock"))

    def acquire(self) -> bool:
        """Wait for the lock."""
        self._lock.acquire()
        return True

    def release(self) -> None:
        """Let others write."""
        self._lock.release()


def _mend(path: Path, lock: JournalLock) -> None:
    """Cut off the line that a full disk left half written: what follows it could not be read."""
    lock.acquire()
    try:
        content = path.read_bytes() if path.exists() else b""
        if content and not content.endswith(b"\n"):
            os.truncate(path, content.rfind(b"\n") + 1)
    finally:
        lock.release()


def unreachable(url: str | None, error: BaseException) -> str:
    """One line that names the storage, without its password, and the first cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    reason = " ".join(str(error).split()) or type(error).__name__
    for secret in sorted(_secrets(url), key=len, reverse=True):
        reason = reason.replace(secret, "***")
    return f"can't reach the storage {without_password(url)}: {reason}"


def _secrets(url: str | None) -> set[str]:
    """What may not be shown of a URL: its password and every value of its query, as written and
    as meant. Drivers take passwords in the query under many names."""
    with contextlib.suppress(ArgumentError, ValueError):
        parsed = make_url(url) if url else None
        values = [v for _, v in parse_qsl(urlsplit(url or "").query, keep_blank_values=True)]
        secrets = {*values, *map(quote, values), *map(quote_plus, values)}
        if parsed is not None and parsed.password:
            secrets |= {str(parsed.password), quote(str(parsed.password))}
        return {secret for secret in secrets if len(secret) > 3}  # shorter ones are words
    return set()


def without_password(url: str | None) -> str:
    """The URL of a storage as it may be shown and recorded: without what is secret in it."""
    if not url:
        return records.STORAGE
    try:
        parsed = make_url(url)
        hidden = parsed.set(query=dict.fromkeys(parsed.query, "***"))
        return hidden.render_as_string(hide_password=True).replace("%2A%2A%2A", "***")
    except (ArgumentError, ValueError):
        return "(not a URL of SQLAlchemy's)"


@dataclass
class SharedStudy:
    """The study of one row, which several processes may work on. space: a grid's has choices only.

    A trial's rank is how many trials that count, or run, have lower numbers.
    """

    study: optuna.Study
    storage: optuna.storages.BaseStorage
    space: Space
    spec: TuneSpec
    presence: Presence

    @property
    def total(self) -> int:
        """How many trials are to finish: those of the suite, or all points of a smaller grid."""
        if self.spec.sampler != "grid":
            return self.spec.trials
        return min(self.spec.trials, math.prod(len(one.choices) for one in self.space))

    def all(self) -> list[FrozenTrial]:
        """Every trial, by number."""
        return self.study.get_trials(deepcopy=False)

    def finished(self) -> list[FrozenTrial]:
        """The trials that count."""
        return [trial for trial in self.all() if trial.state in COUNTED]

    @property
    def enough(self) -> bool:
        """Whether enough trials have finished, or the training tokens are spent."""
        tokens = math.fsum(float(t.user_attrs.get(FACTS, {}).get("tokens", 0)) for t in self.all())
        spent = self.spec.tokens is not None and tokens >= self.spec.tokens
        return len(self.finished()) >= self.total or spent

    def ask(self) -> optuna.Trial | None:
        """A new trial with its draw, or None while those that run may be all that are wanted.

        Its first entry in the storage names its owner: `optuna.Study.ask` would leave a moment in
        which a process that is killed leaves a trial that nobody knows to be dead. A draw whose
        trial failed is tried again first.
        """
        self.fail_stale_trials()
        if self.enough or self._rank(len(self.all())) >= self.total:
            return None
        lost = self._lost()
        study_id = self.storage.get_study_id_from_name(self.study.study_name)
        trial_id = self.storage.create_new_trial(study_id, self._first_entry(lost))
        number = self.storage.get_trial(trial_id).number
        rank = self._rank(number)
        twice = lost is not None and self._retries()[lost.number] != number
        if rank >= self.total or twice:  # another process began one at the same moment
            self.study.tell(number, state=TrialState.FAIL)
            return None
        # A study of its own: one that lives on would draw from trials as it read them before.
        study = optuna.load_study(
            study_name=self.study.study_name,
            storage=self.storage,
            sampler=self._sampler(rank),
            pruner=self.study.pruner,
        )
        trial = optuna.Trial(study, trial_id)
        suggest(trial, self.space)
        return trial

    def _first_entry(self, lost: FrozenTrial | None) -> FrozenTrial:
        """A running trial of this process: without a draw, or with that of a trial that failed."""
        attributes: dict[str, Any] = {WORKER: self.presence.name}
        if lost is None:
            return create_trial(state=TrialState.RUNNING, user_attrs=attributes)
        # What a genetic sampler noted, its generation, belongs to the draw.
        noted = {k: v for k, v in lost.system_attrs.items() if k.endswith(":generation")}
        return create_trial(
            state=TrialState.RUNNING,
            params=lost.params,
            distributions=lost.distributions,
            user_attrs=attributes | {RETRY: lost.number},
            system_attrs=noted,
        )

    def _retries(self) -> dict[int, int]:
        """Number of a trial that failed -> number of the first trial that tries its draw again."""
        retries: dict[int, int] = {}
        for trial in self.all():
            # Older versions left retries waiting; nobody takes those up.
            if RETRY in trial.user_attrs and trial.state != TrialState.WAITING:
                retries.setdefault(trial.user_attrs[RETRY], trial.number)
        return retries

    def _lost(self) -> FrozenTrial | None:
        """The first failed trial with a whole draw that no other trial has tried again."""
        retries = self._retries()
        for trial in self.all():
            whole = trial.state == TrialState.FAIL and len(trial.params) == len(self.space)
            first = retries.get(trial.user_attrs.get(RETRY, -1), trial.number) == trial.number
            if whole and first and trial.number not in retries:
                return trial
        return None

    def _rank(self, number: int) -> int:
        counted = (*COUNTED, TrialState.RUNNING)
        return sum(trial.state in counted and trial.number < number for trial in self.all())

    def _sampler(self, rank: int) -> optuna.samplers.BaseSampler:
        """The sampler of one trial; the first takes the method's own settings."""
        seed = random.Random(f"{self.spec.seed} {rank}").randrange(2**31)
        samplers = {"tpe": TPESampler, "nsga2": NSGAIISampler}
        free = samplers.get(self.spec.sampler, RandomSampler)(seed=seed)
        if self.spec.sampler == "grid":
            return PartialFixedSampler(self._grid_point(rank), free)
        return PartialFixedSampler(defaults(self.space), free) if rank == 0 else free

    def _grid_point(self, rank: int) -> dict[str, Any]:
        """A point of the grid, in an order that the seed shuffles, the defaults' first.

        Of a grid too large to list, distinct points are drawn.
        """
        first = defaults(self.space)
        sizes = [len(one.choices) for one in self.space]
        count = math.prod(sizes)
        order = random.Random(self.spec.seed).sample(range(count), min(count, self.total + 1))
        places = (zip(self.space, np.unravel_index(i, sizes), strict=True) for i in order)
        points = ({one.name: one.choices[at] for one, at in place} for place in places)
        others = (point for point in points if point != first)
        return next(islice(chain([first], others), rank, None))

    def fail_stale_trials(self) -> None:
        """Fail the trials whose process has ended; `ask` tries their draws again.

        One without an owner is of an older version, which was killed before it wrote one.
        """
        for trial in self.all():
            if trial.state != TrialState.RUNNING:
                continue
            worker = trial.user_attrs.get(WORKER)
            if worker is None or self.presence.has_ended(str(worker), self.study):
                # Another process may be first.
                with contextlib.suppress(ValueError, optuna.exceptions.UpdateFinishedTrialError):
                    self.study.tell(trial.number, state=TrialState.FAIL)

    def fail(self, trial: optuna.Trial, reason: str) -> None:
        """Fail a trial; its draw is tried again by whoever comes next."""
        trial.set_user_attr(REASON, without_paths(reason))
        self.study.tell(trial, state=TrialState.FAIL)

    def recorded(self) -> tuple[records.Trial, ...]:
        """The trials as plain values; those that run are left out."""
        return tuple(
            self._recorded(trial)
            for trial in self.all()
            if trial.state in STATES and len(trial.params) == len(self.space)
        )

    def _recorded(self, trial: FrozenTrial) -> records.Trial:
        facts = trial.user_attrs.get(FACTS, {})
        start, end = trial.datetime_start, trial.datetime_complete
        values = trial.values if trial.state == TrialState.COMPLETE else None
        return records.Trial(
            trial.number,
            STATES[trial.state],
            settings(self.space, trial.params),
            tuple(values or ()),
            tuple(sorted(trial.intermediate_values.items())),
            float(facts.get("tokens", 0)),
            float(facts.get("flops", 0)),
            (end - start).total_seconds() if start and end else 0.0,
            str(trial.user_attrs.get(REASON, "")),
            trial.user_attrs.get(RETRY),
            trial.params == defaults(self.space),
        )


def open_study(
    storage: optuna.storages.BaseStorage,
    name: str,
    space: Space,
    spec: TuneSpec,
    meaning: Mapping[str, Any],
    presence: Presence,
) -> SharedStudy:
    """Make the study, or go on with it. meaning: all that decides what its trials' values mean.

    Raises UserError where the study of this name was begun with another meaning.
    """
    minimize = [OBJECTIVES[one].better < 0 for one in spec.objective]
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        directions=["minimize" if less else "maximize" for less in minimize],
        pruner=_pruner(spec),
        load_if_exists=True,
    )
    stored = study.user_attrs.get(MEANING)
    wanted = plain(meaning)
    if stored is None:
        study.set_user_attr(MEANING, wanted)
    elif (stored := {**stored, "space": _plain_space(stored["space"])}) != wanted:
        raise UserError(
            f"the study {name!r} was begun with {_first_difference('', stored, wanted)}; "
            "give the new one another name with --study"
        )
    presence.join(study)
    if spec.sampler == "grid":
        space = grid_space(space, spec.grid)
    return SharedStudy(study, storage, space, spec, presence)


def _plain_space(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A stored space as plain values; older studies hold texts: ``Knob(name='x', low=nan)``."""

    def parsed(text: str) -> Any:
        (call,) = ast.parse(text.replace("=nan", "=None")).body
        assert isinstance(call, ast.Expr) and isinstance(call.value, ast.Call)
        return plain({k.arg: ast.literal_eval(k.value) for k in call.value.keywords})

    return {name: parsed(v) if isinstance(v, str) else v for name, v in stored.items()}


def _first_difference(key: str, old: Any, new: Any) -> str:
    """``training.epochs 1, not 2``."""
    if isinstance(old, dict) and isinstance(new, dict):
        inner = next(k for k in {**old, **new} if old.get(k) != new.get(k))
        return _first_difference(f"{key}.{inner}".lstrip("."), old.get(inner), new.get(inner))
    return f"{key} {old!r}, not {new!r}"


def _pruner(spec: TuneSpec) -> optuna.pruners.BasePruner:
    if spec.pruner == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_min_trials=STARTUP)
    if spec.pruner == "asha":  # half go on from each rung: there are few reports in a training
        return WithoutFailures(optuna.pruners.SuccessiveHalvingPruner(1, reduction_factor=2))
    return optuna.pruners.NopPruner()


class WithoutFailures(optuna.pruners.BasePruner):
    """A pruner that sees no trial that failed: a killed one would count beside its retry."""

    def __init__(self, pruner: optuna.pruners.BasePruner) -> None:
        self._pruner = pruner

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether to stop the trial."""
        return self._pruner.prune(_Survivors(study), trial)  # type: ignore[arg-type]


class _Survivors:
    """A study without the trials that failed."""

    def __init__(self, study: optuna.Study) -> None:
        self._study = study

    def get_trials(self, **options: Any) -> list[FrozenTrial]:
        every = self._study.get_trials(**options)
        return [trial for trial in every if trial.state != TrialState.FAIL]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)
