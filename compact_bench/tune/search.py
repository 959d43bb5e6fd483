"""Runs the trials of one or several studies on worker processes until each has what was asked."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import filelock
import optuna
from optuna.trial import TrialState

from compact_bench.errors import UserError
from compact_bench.execution.plan import Options
from compact_bench.execution.pool import News, Pool, WorkerEntry, record_lost
from compact_bench.execution.progress import Display
from compact_bench.records.cells import Cell, read_cell, status_of
from compact_bench.records.learning_rates import dev_value
from compact_bench.suite.matrix import RunSpec
from compact_bench.suite.sections import TuneSpec
from compact_bench.training import pruning
from compact_bench.tune.study import FACTS, REASON, Shared
from compact_bench.tune.targets import Bench, Target
from compact_bench.tune.trials import OBJECTIVES, OLD_ACCURACY

PATIENCE = 3  # failures of a row in a row, before its search ends

WAIT = 0.5  # seconds between looks at what other processes do


@dataclass
class Attempt:
    """One trial at work: its cells, one a seed, and what the finished ones gave."""

    target: Target
    shared: Shared
    trial: optuna.Trial
    cells: list[RunSpec]
    values: list[tuple[float, ...]] = field(default_factory=list)
    tokens: float = 0.0
    flops: float = 0.0
    lock: filelock.FileLock | None = None

    @property
    def spec(self) -> RunSpec:
        """The cell that is trained now."""
        return self.cells[len(self.values)]

    @property
    def name(self) -> str:
        """``average, trial 3, seed 100``."""
        return f"{self.target.label}, trial {self.trial.number}, seed {self.spec.seed}"

    def mean(self, more: Sequence[float] = ()) -> list[float]:
        """Mean values over the seeds that are done, and one that is under way."""
        every = [*self.values, *([tuple(more)] if more else [])]
        return [math.fsum(column) / len(column) for column in zip(*every, strict=True)]


class Searcher:
    """Gives out trials to the free slots of a pool; only this thread talks to Optuna.

    `failed` holds the rows that were given up, with the last reason.
    """

    def __init__(
        self,
        bench: Bench,
        studies: Sequence[tuple[Target, Shared]],
        root: Path,
        options: Options,
        display: Display,
        entry: WorkerEntry | None = None,
    ) -> None:
        self.bench, self.studies, self.root, self.options = bench, studies, root, options
        self.display = display
        self.pool = Pool(entry or WorkerEntry(bench.threads), root / "logs", bench.jobs)
        self.attempts: dict[int, Attempt] = {}
        self.failures: dict[str, int] = {}
        self.failed: dict[str, str] = {}

    def run(self) -> None:
        """Work until every study has enough finished trials, or was given up.

        KeyboardInterrupt gives back the trials under way: whoever comes next tries them again.
        """
        try:
            while self._step():
                pass
        except BaseException:
            self.pool.stop(at_once=True)
            self._give_back()
            raise
        self.pool.stop()

    def _step(self) -> bool:
        for slot in range(self.bench.jobs):
            if slot not in self.attempts and (found := self._next()):
                self.attempts[slot] = found
                self._begin(slot)
        for slot, attempt in list(self.attempts.items()):
            if attempt.lock is None:  # another process, or slot, trains this very cell
                self._begin(slot)
        if not self.attempts and all(self._over(target, one) for target, one in self.studies):
            return False
        if not self.attempts:
            time.sleep(WAIT)
        elif news := self.pool.next(WAIT):
            self._take(news)
        return True

    def _over(self, target: Target, shared: Shared) -> bool:
        return target.label in self.failed or shared.enough

    def _next(self) -> Attempt | None:
        """A trial of the first study that wants one."""
        for target, shared in self.studies:
            if target.label not in self.failed and (trial := shared.ask()):
                cells = self.bench.cells(target, shared.settings(trial))
                return Attempt(target, shared, trial, cells)
        return None

    # --- one cell -----------------------------------------------------------------------------

    def folder(self, spec: RunSpec) -> Path:
        """Where a cell's records are."""
        return self.root / "runs" / spec.run_id

    def _begin(self, slot: int) -> None:
        """Train the next cell of the slot's trial, or take it as it is where it is done."""
        attempt = self.attempts[slot]
        folder = self.folder(attempt.spec)
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder.parent / f".{folder.name}.lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            return
        attempt.lock = lock
        self.display.started(slot, attempt.name)
        if status_of(folder) == "done":
            for point, value in enumerate(pruning.read(folder)):
                self._report(attempt, point, value)  # its value is there: nothing to save
            self._ended(slot)
            return
        self.pool.begin(slot, attempt.spec, self.options.request(attempt.spec, folder))

    def _take(self, news: News) -> None:
        event, attempt = news.event, self.attempts[news.slot]
        if event["event"] == pruning.REPORT:
            go = self._report(attempt, event["point"], event["value"])
            self.pool.answer(news.slot, go)
        elif event["event"] == "end":
            record_lost(news, self.folder(attempt.spec))
            self._ended(news.slot)
        elif event["event"] != "start":
            self.display.event(news.slot, event)

    def _report(self, attempt: Attempt, point: int, value: float) -> bool:
        """Tell a value on the way; whether to go on. A later seed's comes with the mean of those
        before it, so that trials are compared at the same place of the same seed."""
        spec = self.bench.spec
        if not math.isfinite(value) or len(spec.objective) > 1:
            return True
        step = len(attempt.values) * (len(spec.reports) + 1) + point + 1
        attempt.trial.report(attempt.mean([value])[0], step)
        return not attempt.trial.should_prune()

    # --- how it ended -------------------------------------------------------------------------

    def _ended(self, slot: int) -> None:
        attempt = self.attempts[slot]
        cell = read_cell(self.folder(attempt.spec))
        self._count(attempt, cell)
        reason = str(cell.status.get("reason", ""))
        if cell.state == "pruned":
            self._pruned(slot, reason)
        elif cell.state == "diverged":
            self._pruned(slot, reason, "diverged")
        elif cell.state == "skipped":
            raise UserError(f"{attempt.target.label} can't be tuned here: {reason}")
        elif cell.state != "done":
            self._fail(slot, reason)
        else:
            found = values(cell, self.bench.spec)
            if not all(map(math.isfinite, found)):
                self._fail(slot, f"no {' or '.join(self.bench.spec.objective)} in its records")
            else:
                self._seed_done(slot, found)

    def _count(self, attempt: Attempt, cell: Cell) -> None:
        """Add up what a cell cost, unless a trial with the same settings has paid for it."""
        paid = (t.user_attrs.get(FACTS, {}).get("cells", ()) for t in attempt.shared.finished())
        if cell.run_id not in {run_id for ids in paid for run_id in ids}:
            attempt.tokens += float(cell.status.get("tokens") or 0)
            attempt.flops += float(cell.status.get("flops") or 0)

    def _seed_done(self, slot: int, found: tuple[float, ...]) -> None:
        attempt = self.attempts[slot]
        goes_on = len(attempt.values) + 1 < len(attempt.cells)
        if goes_on and not self._report(attempt, len(self.bench.spec.reports), found[0]):
            self._pruned(slot, "stopped after a seed")
            return
        name = attempt.name
        attempt.values.append(found)
        self._release(attempt)
        said = ", ".join(
            f"{OBJECTIVES[one].title} {value:.4g}"
            for one, value in zip(self.bench.spec.objective, attempt.mean(), strict=True)
        )
        self.display.ended(slot, name, "done", said)
        if goes_on:
            self._begin(slot)
            return
        self._facts(attempt)
        attempt.shared.study.tell(attempt.trial, attempt.mean())
        self.failures[attempt.target.label] = 0
        del self.attempts[slot]

    def _pruned(self, slot: int, reason: str = "", state: str = "pruned") -> None:
        """Trials that were stopped, or that diverged, count: their settings are known to be bad."""
        attempt = self.attempts.pop(slot)
        if reason:
            attempt.trial.set_user_attr(REASON, reason)
        self.display.ended(slot, attempt.name, state, reason)
        self._facts(attempt)
        attempt.shared.study.tell(attempt.trial, state=TrialState.PRUNED)
        self.failures[attempt.target.label] = 0
        self._release(attempt)

    def _fail(self, slot: int, reason: str) -> None:
        attempt = self.attempts.pop(slot)
        label = attempt.target.label
        self.display.ended(slot, attempt.name, "failed", reason)
        self.failures[label] = self.failures.get(label, 0) + 1
        self._facts(attempt)
        attempt.shared.give_up(attempt.trial, reason, again=True)
        self._release(attempt)
        if self.failures[label] >= PATIENCE:
            self.failed[label] = reason

    def _facts(self, attempt: Attempt) -> None:
        done = [spec.run_id for spec in attempt.cells[: len(attempt.values) + 1]]
        facts: dict[str, Any] = {"tokens": attempt.tokens, "flops": attempt.flops, "cells": done}
        attempt.trial.set_user_attr(FACTS, facts)

    def _release(self, attempt: Attempt) -> None:
        if attempt.lock is not None:
            attempt.lock.release()  # its file stays: another process may wait for it
            attempt.lock = None

    def _give_back(self) -> None:
        for attempt in self.attempts.values():
            try:
                attempt.shared.give_up(attempt.trial, "interrupted", again=True)
            except Exception:  # the storage may be what ended the search
                continue
            finally:
                self._release(attempt)


def values(cell: Cell, spec: TuneSpec) -> tuple[float, ...]:
    """A trial cell's value of each objective; NaN where the records have none."""
    return tuple(
        old_accuracy(cell) if name == OLD_ACCURACY else dev_value(cell, name)[0]
        for name in spec.objective
    )


def old_accuracy(cell: Cell) -> float:
    """Accuracy, answers taken strictly, on old questions: mean over the forgetting tasks."""
    frame = cell.eval()
    asked = frame[(frame["role"] == "forgetting") & (frame["split"] == "dev")]
    found = asked[(asked["metric"] == "accuracy") & asked["filter"].isin(["strict", "none"])]
    return float(found["value"].mean()) if len(found) else math.nan
