"""A run of a suite: the cells that are missing are trained, and every failure is recorded."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from compact_bench.data.tasks import template_clean_items
from compact_bench.errors import UserError
from compact_bench.execution.executors import LOCAL, make_executor
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
from compact_bench.execution.pool import (
    AGAIN,
    ELSEWHERE,
    NOBODY,
    News,
    Pool,
    TimeLimits,
    Turn,
    WorkerEntry,
    record_lost,
)
from compact_bench.execution.prepare import is_own_file
from compact_bench.execution.progress import BarDisplay, Display, LineDisplay
from compact_bench.records.cells import Cell, read_cell
from compact_bench.records.suite_record import write_bank, write_items, write_suite_record
from compact_bench.student.load import student_path
from compact_bench.suite.matrix import RunSpec
from compact_bench.suite.schema import Suite
from compact_bench.utils import files
from compact_bench.utils.leases import SUFFIX, Leases
from compact_bench.utils.processes import visible_gpus

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

    Several runs may share a folder: each does the cells that nobody holds, and waits for others.
    0: every selected cell is done or skipped; 1: some failed or diverged; 130: Ctrl-C.
    Raises UserError, or MachineError, before any cell has started. ``entry`` replaces what a
    worker calls; ``meanwhile`` is called while the first worker starts, which takes seconds.
    """
    root = suite_folder(suite, options.results)
    check_trust(suite, options)
    check_writable(root)
    with (
        Leases() as leases,
        _stopped(make_pool(suite, options, root, entry, cluster=True)) as pool,
    ):
        files.remove_leftovers(root)
        leases.tidy(root / "runs")
        pool.start()
        meanwhile()
        plan = make_plan(suite, options)
        records = plan.records()
        states = plan.states(records)
        pending = plan.pending(options.retry, states)
        done = sum(states[spec.run_id] != WAITING for spec in plan.selected) - len(pending)
        say(f"{suite.suite} {suite.profile}: {len(plan.selected)} cells, {done} of them kept")
        for note in plan.notes if is_own_file(suite.data.source) else plan.too_long:
            say(note)
        if choosing := [spec for spec in pending if spec.run_id in plan.tried_ids]:
            say(f"{len(choosing)} of them choose learning rates on the dev split, and come first")
            if not _work(plan, choosing, records, options, say, pool, leases):
                return INTERRUPTED
            plan = make_plan(suite, options)  # now that the rates are known
            records = plan.records()
            left = plan.pending(options.retry, plan.states(records))
            pending = [spec for spec in left if spec.run_id not in plan.tried_ids]
        if pending and not _work(plan, pending, records, options, say, pool, leases):
            return INTERRUPTED
        if plan.waiting:  # for rates that another run may have chosen meanwhile
            plan = make_plan(suite, options)
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
        probe.unlink(missing_ok=True)  # as another run may have
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"can't write to the results folder {root}: {reason}") from error


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


def make_pool(
    suite: Suite, options: Options, root: Path, entry: WorkerEntry | None, cluster: bool = False
) -> Pool:
    """The pool that a suite's cells are run by; its logs lie in `root`.

    cluster: whether the cells may go to the executor of the options, which is for cells that
    nobody watches; else all run on this machine. Raises UserError where that executor can't be.
    """
    jobs, threads = jobs_and_threads(suite, options)
    limits = TimeLimits(options.cell_minutes, options.stall_minutes)
    entry, logs = entry or WorkerEntry(threads), root / "logs"
    executor = None
    if cluster:
        jobs_folder = logs / options.executor
        resources, minutes = options.resources, options.cell_minutes
        executor = make_executor(options.executor, resources, jobs_folder, jobs, threads, minutes)
    devices = visible_gpus() if jobs > 1 and suite.student.device in ("auto", "cuda") else []
    return Pool(entry, logs, jobs, limits, executor, devices if len(devices) > 1 else [])


@contextmanager
def _stopped(pool: Pool) -> Iterator[Pool]:
    """The pool; its workers end with the block, at once where it fails or nothing was to do."""
    try:
        yield pool
    finally:
        pool.stop(at_once=True)


def _work(
    plan: Plan,
    pending: list[RunSpec],
    records: Mapping[str, Cell],
    options: Options,
    say: Say,
    pool: Pool,
    leases: Leases,
) -> bool:
    """Run the pending cells; False if Ctrl-C stopped it. records: what makes them pending."""

    def request(spec: RunSpec) -> dict[str, Any]:
        asked = options.request(spec, plan.folder(spec))
        if options.executor == LOCAL:
            return asked
        path = lease_path(plan, spec).absolute()
        return {**asked, "lease": str(path), "token": leases.token(lease_path(plan, spec))}

    try:
        pool.start(len(pending))
        if waited_for := _asked_of_the_hub(plan.suite):
            say(f"loading {waited_for} once; what is not on this machine comes from the model hub")
        if refused := pool.check(plan.cells[0]):
            key = refused.partition(":")[0]  # such as student.id
            place = key if re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", key) else "student.id"
            raise UserError(f"{plan.suite.where(tuple(place.split('.')))}: {refused}")
        write_records(plan)
        turn_of = _turns(plan, records, leases)
        with closing(display_for(len(pending), plan.jobs, say)) as display:
            for news in pool.run(pending, request, turn_of):
                _show(news, plan, display)
                if news.event["event"] == "end":
                    leases.release(lease_path(plan, news.spec))
    except KeyboardInterrupt:
        pool.stop(at_once=True)
        say(f"stopped; cells left: {len(plan.pending())}. The same command goes on from here.")
        return False
    return True


def lease_path(plan: Plan, spec: RunSpec) -> Path:
    """The file that says which run does a cell."""
    folder = plan.folder(spec)
    return folder.with_name(f".{folder.name}{SUFFIX}")


def _turns(plan: Plan, records: Mapping[str, Cell], leases: Leases) -> Callable[[RunSpec], Turn]:
    """Whether a cell is this run's to do: take it, and see whether another ended it since the plan.

    records: those of the plan.
    """

    def turn_of(spec: RunSpec) -> Turn:
        if not leases.take(lease_path(plan, spec)):
            return "held"
        cell = read_cell(plan.folder(spec))
        if cell.state == "missing" or cell.status == records[spec.run_id].status:
            return "free"
        leases.release(lease_path(plan, spec))
        return "ended"

    return turn_of


def _asked_of_the_hub(suite: Suite) -> str:
    """What may have to be downloaded, which can take minutes; "" where nothing does."""
    student = [suite.student.id] if student_path(suite.student.id) is None else []
    return ", ".join([*student, *(t.task for t in suite.evaluation.tasks if t.kind == "lm_eval")])


def display_for(total: int, jobs: int, say: Say) -> Display:
    """Bars on a terminal, lines elsewhere."""
    return BarDisplay(total) if sys.stdout.isatty() else LineDisplay(total, jobs, say)


def _show(news: News, plan: Plan, display: Display) -> None:
    kind, name = news.event["event"], news.spec.name
    if kind == "start":
        display.started(news.slot, name)
    elif kind == "end":
        folder = plan.folder(news.spec)
        record_lost(news, folder)
        status = read_cell(folder).status
        state, reason = status.get("state", "missing"), status.get("reason", "")
        display.ended(news.slot, name, state, reason)
    elif kind == AGAIN:
        workers = news.event.get("workers")
        fewer = f", with {workers} cells at a time" if workers else ""
        display.put_back(news.slot, name, f"{news.event['error']}; again{fewer}")
    elif kind == ELSEWHERE:
        display.ended_elsewhere(name, read_cell(plan.folder(news.spec)).state)
    elif news.slot == NOBODY:
        display.note(f"waiting for {news.event['cells']} cells that other runs are doing")
    else:
        display.event(news.slot, news.event)
