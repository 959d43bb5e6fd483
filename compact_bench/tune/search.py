"""The whole of `tune`: trials on dev, by worker processes, then the winner's one test on test."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import filelock
import optuna
from optuna.trial import TrialState

from compact_bench.errors import UserError
from compact_bench.execution import run
from compact_bench.execution.plan import Options, check_trust, suite_folder
from compact_bench.execution.pool import News, WorkerEntry, record_lost
from compact_bench.execution.progress import Display
from compact_bench.records.cells import Cell, read_cell
from compact_bench.records.learning_rates import dev_value
from compact_bench.report import page as results_page
from compact_bench.suite.matrix import RunSpec
from compact_bench.suite.schema import Suite, load_suite
from compact_bench.suite.sections import TuneSpec
from compact_bench.training import pruning
from compact_bench.tune import targets, trials, winners
from compact_bench.tune.optuna_study import (
    FACTS,
    REASON,
    STORAGE_ERRORS,
    SharedStudy,
    open_storage,
    open_study,
    unreachable,
)
from compact_bench.tune.presence import Presence
from compact_bench.tune.report import page
from compact_bench.tune.space import settings
from compact_bench.tune.targets import Bench, Target
from compact_bench.tune.trials import OBJECTIVES, OLD_ACCURACY, STORAGE
from compact_bench.utils.files import remove_leftovers

PATIENCE = 3  # failures of a row in a row, before its search ends

WAIT = 0.5  # seconds between looks at what other processes do

Say = Callable[[str], None]

Opened = Sequence[tuple[Target, SharedStudy]]


@dataclass(frozen=True)
class TuneOptions:
    """The options of `tune` that are no part of the suite.

    names: labels or methods of rows; none: those of the suite's ablation. storage: the URL of
    another storage than the journal file. study: a name that keeps this search apart from others.
    test: whether the winner is tested once the search is over.
    """

    names: tuple[str, ...]
    storage: str | None = None
    study: str = ""
    test: bool = True


def tune(
    suite: Suite,
    options: Options,
    tuning: TuneOptions,
    say: Say = print,
    entry: WorkerEntry | None = None,
) -> int:
    """Search, test, report; return the exit code: 0 all went well, 1 a row failed, 130 Ctrl-C.

    The same call again goes on where the last one ended, and repeats nothing. Raises UserError for
    bad input before anything has started, and where the storage goes away; what was trained stays.
    """
    check_trust(suite, options)
    bench = targets.make_bench(suite, options)
    ablated = [row.label for row in suite.rows()[len(suite.methods) :]]
    rows = targets.find(bench, tuning.names or ablated)
    targets.check_names(bench, rows)
    root = suite_folder(suite, options.results)
    folder = root / (f"tune-{tuning.study}" if tuning.study else "tune")
    run.check_writable(folder)
    presence, ended = Presence(folder / "workers"), False
    try:
        opened = _open(bench, rows, tuning, folder, presence)
        failed = _search(bench, opened, options, folder, say, entry)
        ended = True
    except STORAGE_ERRORS as error:
        lost = unreachable(tuning.storage, error)
        raise UserError(f"{lost}; nothing is lost: the same command goes on from here") from None
    except OSError as error:  # a full disk
        raise UserError(f"cannot write {folder}: {error.strerror or error}") from None
    except KeyboardInterrupt:
        say("stopped; the same command goes on from here")
        return run.INTERRUPTED
    finally:
        presence.close(tidy=ended)
    for label, reason in failed.items():
        say(f"{label}: given up after {PATIENCE} failures in a row: {reason}")
    code = 1 if failed else 0
    if tuning.test and not failed:
        code = _test(folder, options, say, entry)
    if code != run.INTERRUPTED:
        made = page.build(folder)
        say(made.summary.read_text(encoding="utf-8"))
        say(f"report: {made.page}")
        if tuning.storage is None:
            say(f"in a browser: optuna-dashboard {folder / STORAGE}")
    return code


def _open(
    bench: Bench, rows: Sequence[Target], tuning: TuneOptions, folder: Path, presence: Presence
) -> Opened:
    """Each row's study, made or gone on with."""
    storage, suite = open_storage(tuning.storage, folder), bench.suite
    test = winners.tested_folder(folder, suite.suite, suite.profile)
    opened = []
    for row in rows:
        name = "/".join(filter(None, (suite.suite, suite.profile, tuning.study, row.label)))
        shared = open_study(storage, name, row.space, bench.spec, bench.meaning(row), presence)
        if not shared.enough:
            winners.refuse_after_test(test, row.label)
        opened.append((row, shared))
    return opened


def _search(
    bench: Bench, opened: Opened, options: Options, folder: Path, say: Say,
    entry: WorkerEntry | None,
) -> dict[str, str]:  # fmt: skip
    """Run the trials of all rows; return the rows that were given up, with the reason."""
    suite = bench.suite
    missing = sum(max(0, shared.total - len(shared.finished())) for _, shared in opened)
    labels = ", ".join(row.label for row, _ in opened)
    say(f"{suite.suite} {suite.profile}: {missing} trials to do of {labels}")
    if not missing:
        _record(folder, bench, opened)
        return {}
    display = run.display_for(missing * len(bench.spec.seeds), bench.jobs, say)
    searcher = Searcher(bench, opened, folder, options, display, entry)
    try:
        # The student is loaded once, to learn before any trial whether that works.
        if refused := searcher.pool.check(bench.cells(opened[0][0], {})[0]):
            raise UserError(f"{suite.where(('student', 'id'))}: {refused}")
        searcher.run()
    finally:
        display.close()
        _record(folder, bench, opened)
    return searcher.failed


def _record(folder: Path, bench: Bench, opened: Opened) -> None:
    """Write trials.json and best.yaml; rows that were tuned here before stay in both."""
    spec, suite = bench.spec, bench.suite
    with filelock.FileLock(folder / ".record.lock"):
        for name in (trials.FILE, winners.BEST):
            remove_leftovers(folder, name)
        studies = [
            trials.Study(
                row.label, row.method, tuple(spec.objective), spec.sampler, spec.pruner or "none",
                spec.seed, tuple(spec.seeds), row.space, shared.recorded(), shared.enough,
            )
            for row, shared in opened
        ]  # fmt: skip
        before = trials.read(folder).studies if (folder / trials.FILE).exists() else ()
        labels = {study.label for study in studies}
        others = [study for study in before if study.label not in labels]
        every = (*others, *studies)
        notes = bench.prepared.notes
        trials.write(folder, trials.Search(suite.model_dump(mode="json"), every, notes))
        rows = winners.rows_of(folder, {study.label for study in others})
        for (row, _), study in zip(opened, studies, strict=True):
            if study.over and study.complete:
                rate = suite.training.learning_rate
                rows.append(row.entry(row.label, {}, rate))
                best = winners.winners(study)
                rows += [row.entry(name, trial.settings, rate) for name, trial in best]
        if rows:
            ready = [study for study in every if study.complete]
            content = winners.content(suite, targets.untrained(bench), rows, ready)
            winners.write_best(folder, content, ready)


def _test(folder: Path, options: Options, say: Say, entry: WorkerEntry | None) -> int:
    """Train best.yaml's rows with fresh seeds and ask the test split; what is done stays done."""
    path = folder / winners.BEST
    if not path.exists():
        return 0
    say(f"the winners, with fresh seeds, asked the test split: {path}")
    suite = load_suite(path)
    # Of several processes one runs the test, and the others find it done.
    with filelock.FileLock(folder / ".test.lock"):
        code = run.run(suite, replace(options, results=folder, only=()), say=say, entry=entry)
        if code != run.INTERRUPTED:
            results_page.show(suite_folder(suite, folder), say)
    return code


@dataclass
class Attempt:
    """One trial at work: its cells, one a seed, and the values of those that are done."""

    target: Target
    shared: SharedStudy
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

    def means(self, running: tuple[float, ...]) -> list[float]:
        """Mean of each objective over the seeds that are done and the one that is under way."""
        columns = zip(*self.values, running, strict=True)
        return [math.fsum(column) / len(column) for column in columns]

    def release(self) -> None:
        """Let others train the cell."""
        if self.lock is not None:
            self.lock.release()  # its file stays: another process may wait for it
            self.lock = None

    def record_facts(self) -> None:
        """Store with the trial what it cost and which cells it took."""
        done = [spec.run_id for spec in self.cells[: len(self.values) + 1]]
        facts = {"tokens": self.tokens, "flops": self.flops, "cells": done}
        self.trial.set_user_attr(FACTS, facts)


class Searcher:
    """Gives trials to the free slots of a pool; only this thread talks to Optuna.

    `failed` holds the rows that were given up, with the last reason.
    """

    def __init__(
        self,
        bench: Bench,
        studies: Opened,
        root: Path,
        options: Options,
        display: Display,
        entry: WorkerEntry | None = None,
    ) -> None:
        self.bench, self.studies, self.root, self.options = bench, studies, root, options
        self.display = display
        self.pool = run.make_pool(bench.suite, options, root, entry)
        self.slots = list(range(bench.jobs))
        self.attempts: dict[int, Attempt] = {}  # by slot
        self.waiting: list[Attempt] = []  # for a slot, their own being given up
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
        for slot in self.slots:
            if slot not in self.attempts and (attempt := self._next()):
                self.attempts[slot] = attempt
                self._begin(slot)
        for slot, attempt in list(self.attempts.items()):
            if attempt.lock is None:  # another process, or slot, trains this very cell
                self._begin(slot)
        if self.attempts:
            if news := self.pool.next(WAIT):
                self._take(news)
            return True
        if all(row.label in self.failed or shared.enough for row, shared in self.studies):
            return False
        time.sleep(WAIT)
        return True

    def _next(self) -> Attempt | None:
        """A trial that waits, or one of the first study that wants one."""
        if self.waiting:
            return self.waiting.pop(0)
        for target, shared in self.studies:
            if target.label not in self.failed and (trial := shared.ask()):
                cells = self.bench.cells(target, settings(shared.space, trial.params))
                return Attempt(target, shared, trial, cells)
        return None

    def _folder(self, spec: RunSpec) -> Path:
        return self.root / "runs" / spec.run_id

    def _begin(self, slot: int) -> None:
        """Train the next cell of the slot's trial, or take it as it is where it is done."""
        attempt = self.attempts[slot]
        folder = self._folder(attempt.spec)
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder.parent / f".{folder.name}.lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            return
        attempt.lock = lock
        self.display.started(slot, attempt.name)
        if read_cell(folder).state == "done":
            for point, value in enumerate(pruning.read(folder)):
                self._report(attempt, point, value)  # its value is there: nothing to save
            self._ended(slot)
            return
        self.pool.begin(slot, attempt.spec, self.options.request(attempt.spec, folder))

    def _take(self, news: News) -> None:
        event, attempt = news.event, self.attempts[news.slot]
        if event["event"] == pruning.REPORT:
            go_on = self._report(attempt, event["point"], event["value"])
            self.pool.answer(news.slot, go_on)
        elif event.get("out_of_memory") and len(self.attempts) > 1:
            self._put_back(news.slot, event["error"])
        elif event["event"] == "end":
            record_lost(news, self._folder(attempt.spec))
            self._ended(news.slot)
        elif event["event"] != "start":
            self.display.event(news.slot, event)

    def _put_back(self, slot: int, reason: str) -> None:
        """Give up a slot for want of memory; its cell is done again when another is free."""
        attempt = self.attempts.pop(slot)
        attempt.release()
        self.slots.remove(slot)
        self.waiting.append(attempt)
        line = f"{reason}; again, with {len(self.slots)} cells at a time"
        self.display.put_back(slot, attempt.name, line)

    def _report(self, attempt: Attempt, point: int, value: float) -> bool:
        """Report a value to Optuna; return whether to go on.

        A later seed's comes with the mean of those before it, so that trials are compared at the
        same place of the same seed.
        """
        spec = self.bench.spec
        if not math.isfinite(value) or len(spec.objective) > 1:
            return True
        step = len(attempt.values) * (len(spec.reports) + 1) + point + 1
        attempt.trial.report(attempt.means((value,))[0], step)
        return not attempt.trial.should_prune()

    def _ended(self, slot: int) -> None:
        """Take what the slot's cell came to.

        Trials that were stopped, or that diverged, count: their settings are known to be bad.
        """
        attempt = self.attempts[slot]
        cell = read_cell(self._folder(attempt.spec))
        paid = (t.user_attrs.get(FACTS, {}).get("cells", ()) for t in attempt.shared.finished())
        if not any(cell.run_id in run_ids for run_ids in paid):  # else one with its settings has
            attempt.tokens += float(cell.status.get("tokens") or 0)
            attempt.flops += float(cell.status.get("flops") or 0)
        reason = str(cell.status.get("reason", ""))
        if cell.state in ("pruned", "diverged"):
            self._finish(slot, cell.state, reason)
        elif cell.state == "skipped":
            raise UserError(f"{attempt.target.label} can't be tuned here: {reason}")
        elif cell.state != "done":
            self._fail(slot, reason)
        else:
            values = values_of(cell, self.bench.spec)
            if all(map(math.isfinite, values)):
                self._seed_done(slot, values)
            else:
                self._fail(slot, f"no {' or '.join(self.bench.spec.objective)} in its records")

    def _seed_done(self, slot: int, values: tuple[float, ...]) -> None:
        attempt, spec = self.attempts[slot], self.bench.spec
        last = len(attempt.values) + 1 == len(attempt.cells)
        if not last and not self._report(attempt, len(spec.reports), values[0]):
            self._finish(slot, "pruned", "stopped after a seed")
            return
        means = attempt.means(values)
        shown = ", ".join(
            f"{OBJECTIVES[objective].title} {value:.4g}"
            for objective, value in zip(spec.objective, means, strict=True)
        )
        if last:
            self._finish(slot, "done", shown, means)
            return
        self.display.ended(slot, attempt.name, "done", shown)
        attempt.values.append(values)
        attempt.release()
        self._begin(slot)

    def _finish(
        self, slot: int, outcome: str, shown: str, values: Sequence[float] | None = None
    ) -> None:
        """End a trial that counts; one without values is pruned."""
        attempt = self.attempts[slot]
        attempt.record_facts()
        if values is None:
            attempt.trial.set_user_attr(REASON, shown)
            attempt.shared.study.tell(attempt.trial, state=TrialState.PRUNED)
        else:
            attempt.shared.study.tell(attempt.trial, values)
        attempt.release()
        del self.attempts[slot]
        self.display.ended(slot, attempt.name, outcome, shown)
        self.failures.pop(attempt.target.label, None)

    def _fail(self, slot: int, reason: str) -> None:
        attempt = self.attempts.pop(slot)
        label = attempt.target.label
        self.display.ended(slot, attempt.name, "failed", reason)
        self.failures[label] = self.failures.get(label, 0) + 1
        attempt.record_facts()
        attempt.shared.fail(attempt.trial, reason)
        attempt.release()
        if self.failures[label] >= PATIENCE:
            self.failed[label] = reason

    def _give_back(self) -> None:
        for attempt in (*self.attempts.values(), *self.waiting):
            try:
                attempt.shared.fail(attempt.trial, "interrupted")
            except Exception:  # the storage may be what ended the search
                continue
            finally:
                attempt.release()


def values_of(cell: Cell, spec: TuneSpec) -> tuple[float, ...]:
    """A trial cell's value of each objective; NaN where the records have none.

    Of old questions it is the accuracy, answers taken strictly: the mean over the forgetting tasks.
    """

    def old_accuracy() -> float:
        rows = cell.eval().query("role == 'forgetting' and split == 'dev' and metric == 'accuracy'")
        rows = rows[rows["filter"].isin(["strict", "none"])]
        return float(rows["value"].mean())  # of no row NaN

    return tuple(
        old_accuracy() if name == OLD_ACCURACY else dev_value(cell, name)[0]
        for name in spec.objective
    )
