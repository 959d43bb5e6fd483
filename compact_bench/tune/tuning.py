"""The whole of `tune`: search on dev, test the winner once, write what came out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import filelock
from sqlalchemy.exc import SQLAlchemyError

from compact_bench.errors import UserError
from compact_bench.execution import run
from compact_bench.execution.plan import Options, suite_folder
from compact_bench.execution.pool import WorkerEntry
from compact_bench.report import page as report
from compact_bench.suite import matrix
from compact_bench.suite.schema import LABEL, Suite, load_suite
from compact_bench.suite.sections import TuneSpec
from compact_bench.tune import search, trials, winners
from compact_bench.tune.presence import Presence
from compact_bench.tune.report import page
from compact_bench.tune.study import Shared, open_storage, open_study, recorded, unreachable
from compact_bench.tune.targets import (
    Bench,
    Target,
    ablated,
    check_names,
    find,
    make_bench,
    untrained,
)

Say = Callable[[str], None]


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


def tune_folder(root: Path, study: str = "") -> Path:
    """Where a search of the results in `root` lies."""
    return root / (f"tune-{study}" if study else "tune")


def tune(
    suite: Suite,
    options: Options,
    asked: TuneOptions,
    say: Say = print,
    entry: WorkerEntry | None = None,
) -> int:
    """Search, test, report; return the exit code: 0 all went well, 1 a row failed, 130 Ctrl-C.

    The same call again goes on where the last one ended, and repeats nothing. Raises UserError for
    bad input before anything has started, and where the storage goes away; what was trained stays.
    """
    bench = make_bench(suite, options)
    targets = find(bench, asked.names) if asked.names else ablated(bench)
    check_names(bench, targets)
    folder = tune_folder(suite_folder(suite, options.results), asked.study)
    run.check_writable(folder)
    presence, ended = Presence(folder / "workers"), False
    try:
        with storage_errors(asked.storage):
            failed = _search(bench, targets, options, asked, folder, presence, say, entry)
        ended = True
    except KeyboardInterrupt:
        say("stopped; the same command goes on from here")
        return run.INTERRUPTED
    finally:
        presence.close(tidy=ended)
    for label, reason in failed.items():
        say(f"{label}: given up after {search.PATIENCE} failures in a row: {reason}")
    code = 1 if failed else 0
    if asked.test and not failed:
        code = _test(folder, options, say, entry)
    if code != run.INTERRUPTED:
        made = page.build(folder)
        say(made.summary.read_text(encoding="utf-8"))
        say(f"report: {made.page}")
        if asked.storage is None:
            say(f"in a browser: optuna-dashboard {folder / trials.STORAGE}")
    return code


@contextmanager
def storage_errors(url: str | None) -> Iterator[None]:
    """Say in one line that the storage went away; the cells that were trained are kept."""
    from optuna.exceptions import StorageInternalError

    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        lost = unreachable(url, error)
        raise UserError(f"{lost}; nothing is lost: the same command goes on from here") from None


def _search(
    bench: Bench,
    targets: Sequence[Target],
    options: Options,
    asked: TuneOptions,
    folder: Path,
    presence: Presence,
    say: Say,
    entry: WorkerEntry | None,
) -> dict[str, str]:
    """Run the trials of all rows; return the rows that were given up, with the reason."""
    storage = open_storage(asked.storage, folder)
    suite = bench.suite
    opened = []
    done = winners.tested(folder, suite.suite, suite.profile)
    for target in targets:
        parts = (suite.suite, suite.profile, asked.study, target.label)
        name = "/".join(part for part in parts if part)
        meaning = meaning_of(bench, target)
        shared = open_study(storage, name, target.space, bench.spec, meaning, presence)
        winners.refuse_after_test(done, target.label, shared.enough)
        opened.append((target, shared))
    total = sum(max(0, shared.total - len(shared.finished())) for _, shared in opened)
    rows = ", ".join(target.label for target in targets)
    say(f"{suite.suite} {suite.profile}: {total} trials to do of {rows}")
    failed: dict[str, str] = {}
    if total:
        display = run.display_for(total * len(bench.spec.seeds), bench.jobs, say)
        searcher = search.Searcher(bench, opened, folder, options, display, entry)
        try:
            _preflight(searcher, bench, opened)
            searcher.run()
        finally:
            display.close()
            record(folder, bench, opened)
        failed = searcher.failed
    else:
        record(folder, bench, opened)
    return failed


def _preflight(
    searcher: search.Searcher, bench: Bench, opened: Sequence[tuple[Target, Shared]]
) -> None:
    """Load the student once, to learn before any trial whether that works."""
    target = opened[0][0]
    if refused := searcher.pool.check(bench.cells(target, {})[0]):
        raise UserError(f"{bench.suite.where(('student', 'id'))}: {refused}")


def meaning_of(bench: Bench, target: Target) -> dict[str, Any]:
    """All that decides what a study's trials mean: one that asks otherwise is another study."""
    spec, trial = bench.spec, bench.trial
    cell = bench.cells(target, {})[0]
    student = {**cell.student, "id": Path(cell.student["id"]).name}
    return {
        "engine": matrix.ENGINE_VERSION,
        "method": {"name": target.method, "version": target.version, "settings": target.settings},
        "space": {k.name: repr(k) for k in target.space},
        "search": spec.model_dump(mode="json", exclude={"trials", "tokens", "space", "split"}),
        "student": {**student, "hash": bench.student},
        "data": {"hash": bench.data.fingerprint},
        "training": trial.training.model_dump(mode="json", exclude={"selected_on"}),
        "evaluation": cell.evaluation,
        "limit": bench.suite.limit,
    }


def record(folder: Path, bench: Bench, opened: Sequence[tuple[Target, Shared]]) -> None:
    """Write trials.json and best.yaml; rows that were tuned here before stay in both."""
    with filelock.FileLock(folder / ".record.lock"):
        found = [_study(bench.spec, target, shared) for target, shared in opened]
        earlier = _earlier(folder)
        labels = {one.label for one in found}
        kept = [one for one in earlier.studies if one.label not in labels] if earlier else []
        every = [*kept, *found]
        suite = bench.suite
        notes = bench.prepared.notes
        trials.write(folder, trials.Search(suite.model_dump(mode="json"), tuple(every), notes))
        rate = suite.training.learning_rate
        rows = _kept_rows(folder, {one.label for one in kept})
        for (target, _), study in zip(opened, found, strict=True):
            if study.over and study.complete:
                rows += winners.entries(target, study, rate)
        if rows:
            ready = [one for one in every if one.complete]
            content = winners.content(suite, untrained(bench), rows, ready)
            winners.write_best(folder, content, ready)


def _study(spec: TuneSpec, target: Target, shared: Shared) -> trials.Study:
    return trials.Study(
        target.label, target.method, tuple(spec.objective), spec.sampler, spec.pruner or "none",
        spec.seed, tuple(spec.seeds), target.space, recorded(shared), shared.enough,
    )  # fmt: skip


def _earlier(folder: Path) -> trials.Search | None:
    return trials.read(folder) if (folder / trials.FILE).exists() else None


def _kept_rows(folder: Path, labels: set[str]) -> list[dict[str, Any]]:
    """The rows of best.yaml of studies that this command doesn't touch."""
    prefixes = tuple(f"{label}, {winners.TUNED}" for label in labels)
    best = winners.read_best(folder) or {"methods": []}
    listed = [row for row in best["methods"] if isinstance(row, dict) and LABEL in row]
    return [row for row in listed if row[LABEL] in labels or row[LABEL].startswith(prefixes)]


def _test(folder: Path, options: Options, say: Say, entry: WorkerEntry | None) -> int:
    """Train best.yaml's rows with fresh seeds and ask the test split; what is done stays done."""
    path = folder / winners.BEST
    if not path.exists():
        return 0
    say(f"the winners, with fresh seeds, asked the test split: {path}")
    quiet = replace(options, results=folder, only=())
    suite = load_suite(path)
    # Of several processes one runs the test, and the others find it done.
    with filelock.FileLock(folder / ".test.lock"):
        code = run.run(suite, quiet, say=say, entry=entry)
        if code != run.INTERRUPTED:
            report.show(suite_folder(suite, folder), say)
    return code
