"""A run of a suite: the cells that are missing are trained, and every failure is recorded."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

from compact_bench.data.tasks import template_clean_items
from compact_bench.errors import UserError
from compact_bench.execution.plan import (
    ENDED_WELL,
    WAITING,
    Options,
    Plan,
    check_trust,
    jobs_and_threads,
    make_plan,
    suite_folder,
    tried_entry,
)
from compact_bench.execution.pool import AGAIN, News, Pool, TimeLimits, WorkerEntry, record_lost
from compact_bench.execution.prepare import is_own_file
from compact_bench.execution.progress import BarDisplay, Display, LineDisplay
from compact_bench.records.cells import read_cell
from compact_bench.records.suite_record import write_bank, write_items, write_suite_record
from compact_bench.student.load import student_path
from compact_bench.suite.matrix import RunSpec
from compact_bench.suite.schema import Suite
from compact_bench.utils import files

INTERRUPTED = 130

Say = Callable[[str], None]


def run(
    suite: Suite,
    options: Options,
    say: Say = print,
    entry: WorkerEntry | None = None,
    meanwhile: Callable[[], Any] = lambda: None,
) -> int:
    """Run what is missing of a suite; return the exit code.

    0: every selected cell is done or skipped; 1: some failed or diverged; 130: Ctrl-C.
    Raises UserError, or MachineError, before any cell has started. ``entry`` replaces what a
    worker calls; ``meanwhile`` is called while the first worker starts, which takes seconds.
    """
    root = suite_folder(suite, options.results)
    check_trust(suite, options)
    check_writable(root)
    with locked(root), _stopped(make_pool(suite, options, root, entry)) as pool:
        files.remove_leftovers(root)
        pool.start()
        meanwhile()
        plan = make_plan(suite, options)
        states = plan.states()
        pending = plan.pending(options.retry, states)
        done = sum(states[spec.run_id] != WAITING for spec in plan.selected) - len(pending)
        say(f"{suite.suite} {suite.profile}: {len(plan.selected)} cells, {done} of them kept")
        for note in plan.notes if is_own_file(suite.data.source) else plan.too_long:
            say(note)
        if choosing := [spec for spec in pending if spec.run_id in plan.tried_ids]:
            say(f"{len(choosing)} of them choose learning rates on the dev split, and come first")
            if not _work(plan, choosing, options, say, pool):
                return INTERRUPTED
            plan = make_plan(suite, options)  # now that the rates are known
            left = plan.pending(options.retry)
            pending = [spec for spec in left if spec.run_id not in plan.tried_ids]
        if pending and not _work(plan, pending, options, say, pool):
            return INTERRUPTED
        write_records(plan)
        states = plan.states()
        counts = Counter(states[spec.run_id] for spec in plan.selected)
        say("cells: " + ", ".join(f"{count} {state}" for state, count in sorted(counts.items())))
    # That one of several learning rates diverges is no failure.
    tried = {(run_id, "diverged") for run_id in plan.tried_ids}
    return 0 if all(end[1] in ENDED_WELL or end in tried for end in states.items()) else 1


def check_writable(root: Path) -> None:
    """Raise UserError unless files can be written under ``root``."""
    probe = root / ".writable"
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"can't write to the results folder {root}: {reason}") from error


def locked(root: Path) -> AbstractContextManager[None]:
    """Hold the folder's lock; a second run of the same folder is refused, not queued."""
    problem = f"another run is writing to {root}; wait for it or stop it"
    return files.locked(root / ".lock", problem)


def write_records(plan: Plan) -> None:
    """Write suite.json and the question and rationale tables that the report reads."""
    own_rates = plan.tries or any(row.rate is not None for row in plan.suite.rows())
    cells = [
        {
            # A cell without its learning rate isn't known yet, and so not run.
            "run_id": "" if spec.run_id in plan.waiting else spec.run_id,
            "label": spec.label,
            "method": spec.method,
            "seed": spec.seed,
            "uses_gold": plan.gold.get(spec.label, False),
            **({"condition": spec.condition} if spec.condition else {}),
            **({"learning_rate": spec.training["learning_rate"]} if own_rates else {}),
        }
        for spec in plan.cells
    ]
    suite = plan.suite.model_dump(mode="json")
    write_suite_record(plan.root, suite, cells, plan.notes, [*map(tried_entry, plan.tries)])
    write_bank(plan.root, plan.banks)
    trained_on = {q for bank in plan.banks.values() for q in bank.questions["question"]}
    clean = template_clean_items(plan.prepared.tasks, trained_on)
    write_items(plan.root, plan.prepared.tasks, clean)


def make_pool(suite: Suite, options: Options, root: Path, entry: WorkerEntry | None) -> Pool:
    """The pool that a suite's cells are run by; its logs lie in `root`."""
    jobs, threads = jobs_and_threads(suite, options)
    limits = TimeLimits(options.cell_minutes, options.stall_minutes)
    return Pool(entry or WorkerEntry(threads), root / "logs", jobs, limits)


@contextmanager
def _stopped(pool: Pool) -> Iterator[Pool]:
    """The pool; its workers end with the block, at once where it fails or nothing was to do."""
    try:
        yield pool
    finally:
        pool.stop(at_once=True)


def _work(plan: Plan, pending: list[RunSpec], options: Options, say: Say, pool: Pool) -> bool:
    """Run the pending cells; False if Ctrl-C stopped it."""
    try:
        pool.start(len(pending))
        if waited_for := _asked_of_the_hub(plan.suite):
            say(f"loading {waited_for} once; what is not on this machine comes from the model hub")
        if refused := pool.check(plan.cells[0]):
            key = refused.partition(":")[0]  # such as student.id
            place = key if re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", key) else "student.id"
            raise UserError(f"{plan.suite.where(tuple(place.split('.')))}: {refused}")
        write_records(plan)
        with closing(display_for(len(pending), plan.jobs, say)) as display:
            for news in pool.run(pending, lambda spec: options.request(spec, plan.folder(spec))):
                _show(news, plan, display)
    except KeyboardInterrupt:
        pool.stop(at_once=True)
        say(f"stopped; cells left: {len(plan.pending())}. The same command goes on from here.")
        return False
    return True


def _asked_of_the_hub(suite: Suite) -> str:
    """What may have to be downloaded, which can take minutes; "" where nothing does."""
    student = [suite.student.id] if student_path(suite.student.id) is None else []
    return ", ".join([*student, *(t.task for t in suite.evaluation.tasks if t.kind == "lm_eval")])


def display_for(total: int, jobs: int, say: Say) -> Display:
    """Bars on a terminal, lines elsewhere."""
    return BarDisplay(total) if sys.stdout.isatty() else LineDisplay(total, jobs, say)


def _show(news: News, plan: Plan, display: Display) -> None:
    kind = news.event["event"]
    if kind == "start":
        display.started(news.slot, news.spec.name)
    elif kind == "end":
        folder = plan.folder(news.spec)
        record_lost(news, folder)
        status = read_cell(folder).status
        state, reason = status.get("state", "missing"), status.get("reason", "")
        display.ended(news.slot, news.spec.name, state, reason)
    elif kind == AGAIN:
        reason = f"{news.event['error']}; again, with {news.event['workers']} cells at a time"
        display.put_back(news.slot, news.spec.name, reason)
    else:
        display.event(news.slot, news.event)
