"""Worker processes: start them, give them cells, replace those that die, stop them."""

from __future__ import annotations

import contextlib
import heapq
import json
import math
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compact_bench.errors import MachineError
from compact_bench.execution import worker as worker_module
from compact_bench.records.cells import CellWriter, read_cell
from compact_bench.suite.matrix import RunSpec
from compact_bench.utils.processes import memory_kills

SECONDS_TO_STOP = 5
SECONDS_TO_LOOK = 0.5  # between looks at a worker's process, and at its time
AGAIN = "again"  # the event of a cell that will be done once more
LONGEST_SHOWN = 200  # characters of what a worker wrote that is no event


class WorkerDied(Exception):
    """The worker's process ended, or had to be ended, in the middle of a request.

    out_of_memory: whether the system ended a process for want of memory meanwhile.
    """

    def __init__(self, reason: str, out_of_memory: bool = False) -> None:
        super().__init__(reason)
        self.out_of_memory = out_of_memory


@dataclass(frozen=True)
class TimeLimits:
    """When a cell is ended, in minutes: after `cell` of work, or `stall` without an event."""

    cell: float = math.inf
    stall: float = math.inf

    def exceeded(self, started: float, last_event: float) -> str:
        """The reason to end a cell, or ""; both are times of the monotonic clock, in seconds."""
        now = time.monotonic()
        if now - started > 60 * self.cell:
            return f"took more than {self.cell:g} minutes (--cell-minutes)"
        if now - last_event > 60 * self.stall:
            return f"stalled: nothing happened for {self.stall:g} minutes (--stall-minutes)"
        return ""


@dataclass(frozen=True)
class WorkerEntry:
    """The functions that a worker calls, as dotted paths, and its threads."""

    threads: int
    cell: str = worker_module.CELL
    check: str = worker_module.CHECK

    def command(self) -> list[str]:
        """Return the command line of a worker."""
        module = [sys.executable, "-m", "compact_bench.execution.worker"]
        return [*module, "--cell", self.cell, "--check", self.check]

    def environment(self) -> dict[str, str]:
        """Return a worker's environment: threads are read when torch is imported, not later."""
        threads = str(self.threads)
        return {
            # Threads that spin while they wait starve each other where anything else runs: with
            # two threads on two busy cores a cell took 82 seconds, with this 6.
            "OMP_WAIT_POLICY": "PASSIVE",
            **os.environ,
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": threads,
            "TOKENIZERS_PARALLELISM": "false",
            "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # without it CUDA refuses to be deterministic
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "PYTHONHASHSEED": "0",
        }


NO_LIMITS = TimeLimits()


class Worker:
    """One worker process."""

    def __init__(self, entry: WorkerEntry, log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self._kills = memory_kills()
        with log.open("a", encoding="utf-8") as stderr:
            # A session of its own: Ctrl-C reaches the runner alone, which then stops the workers.
            self._process = subprocess.Popen(
                entry.command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=entry.environment(),
                text=True,
                start_new_session=True,
            )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        """Queue what the worker writes, and None at its end.

        In a thread: a child of a dead worker may hold the pipe open, and whoever reads it then
        waits for ever.
        """
        assert self._process.stdout is not None
        with contextlib.suppress(ValueError):  # not UTF-8, or closed meanwhile
            for line in self._process.stdout:
                self._lines.put(line)
        self._lines.put(None)

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def ask(
        self, request: dict[str, Any], limits: TimeLimits = NO_LIMITS
    ) -> Iterator[dict[str, Any]]:
        """Send a request and yield its events, ``end`` included.

        Raises WorkerDied, the worker's process group ended, where it died, wrote what is no event,
        or exceeded a limit.
        """
        try:
            self._send(request)
        except OSError as error:
            raise self._death() from error
        started = last = time.monotonic()
        while True:
            try:
                line = self._lines.get(timeout=SECONDS_TO_LOOK)
            except queue.Empty:
                if not self.alive:  # all that it wrote is read; a child of it holds the pipe
                    raise self._death() from None
                if reason := limits.exceeded(started, last):
                    self._end_group()
                    raise WorkerDied(reason) from None
                continue
            if line is None:
                raise self._death()
            event = self._event(line)
            last = time.monotonic()
            yield event
            if event["event"] == "end":
                return

    def _event(self, line: str) -> dict[str, Any]:
        """One line of the protocol."""
        with contextlib.suppress(ValueError, RecursionError):
            event = json.loads(line)
            if isinstance(event, dict) and isinstance(event.get("event"), str):
                return event
        self._end_group()
        raise WorkerDied(f"worker wrote what is no event: {line.rstrip()[:LONGEST_SHOWN]!r}")

    def answer(self, message: dict[str, Any]) -> None:
        """Answer a cell's report; that a worker died meanwhile, `ask` will raise."""
        with contextlib.suppress(OSError):
            self._send(message)

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def _death(self) -> WorkerDied:
        """How the worker ended, or is ended now that it closed its pipe."""
        try:
            code = self._process.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            self._end_group()
            return WorkerDied("worker closed its pipe")
        self._end_group()
        if code >= 0:
            return WorkerDied(f"worker exited with code {code}")
        if -code == signal.SIGKILL and memory_kills() > self._kills:
            return WorkerDied("out of memory: the system killed the worker", out_of_memory=True)
        hint = " (often: out of memory)" if -code == signal.SIGKILL else ""
        return WorkerDied(f"worker killed by signal {-code}{hint}")

    def _end_group(self) -> None:
        """End the worker and its children, which would hold its pipes and its memory."""
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        else:
            self._process.kill()
        self._process.wait()

    def stop(self, at_once: bool = False) -> None:
        """End the process: by closing its stdin when it is idle, else by a signal."""
        if at_once:
            self._process.terminate()
        with contextlib.suppress(OSError):  # what a dead worker did not read is lost anyway
            if self._process.stdin is not None:
                self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(SECONDS_TO_STOP)
        self._end_group()
        self._reader.join(SECONDS_TO_STOP)
        # A child that left the group may still hold the pipe: closing it would wait for the reader.
        if self._process.stdout is not None and not self._reader.is_alive():
            self._process.stdout.close()


@dataclass(frozen=True)
class News:
    """An event of the cell that a slot of the pool works on."""

    slot: int
    spec: RunSpec
    event: dict[str, Any]


def record_lost(news: News, folder: Path) -> None:
    """Record a cell as failed whose worker died, or that ended without writing its status."""
    error = news.event.get("error")
    if error is not None or read_cell(folder).state == "missing":
        reason = error or "the cell ended without writing its status"
        CellWriter(folder).status("failed", reason)


class Pool:
    """Runs cells on several workers; each cell ends with an ``end`` event whose error is set
    if the worker died, and its slot goes on with a new worker."""

    def __init__(
        self, entry: WorkerEntry, logs: Path, size: int, limits: TimeLimits = NO_LIMITS
    ) -> None:
        self._entry = entry
        self._logs = logs
        self._size = size
        self._limits = limits
        self._workers: dict[int, Worker] = {}
        self._news: queue.Queue[News | BaseException] = queue.Queue()
        self._stopping = False

    def start(self, cells: int = 1) -> None:
        """Start the workers that so many cells need: they import what a cell needs meanwhile."""
        for slot in range(min(cells, self._size)):
            self._worker(slot)

    def check(self, spec: RunSpec) -> str | None:
        """Let the first worker load the student once; return why it can't, or None.

        Raises MachineError where the worker died of it, which is no fault of the input.
        """
        try:
            *_, last = self._worker(0).ask({"do": "check", "spec": spec.to_json()}, self._limits)
        except WorkerDied as death:
            self.stop(at_once=True)
            log = self._logs / "worker-0.log"
            raise MachineError(
                f"nothing was started: loading the student: {death}; {log}"
            ) from death
        return last["error"]

    def run(
        self, specs: Sequence[RunSpec], request: Callable[[RunSpec], dict[str, Any]]
    ) -> Iterator[News]:
        """Yield the news of all cells until the last one has ended.

        A cell that reads another's weights waits for that one to end. One whose worker was killed
        for want of memory, while others were at work, is done again with one worker fewer; its
        event is then AGAIN.
        """
        free, slots = list(range(self._size)), self._size
        unfinished = {spec.run_id for spec in specs}
        places = {spec.run_id: place for place, spec in enumerate(specs)}
        ready: list[tuple[int, RunSpec]] = []  # a heap, by the place in specs
        waiting: dict[str, list[tuple[int, RunSpec]]] = {}  # by the run id of whom they wait for
        for place, spec in enumerate(specs):
            queue_of = waiting.setdefault(spec.after, []) if spec.after in unfinished else ready
            queue_of.append((place, spec))
        while unfinished:
            while free and ready:
                _, spec = heapq.heappop(ready)
                self.begin(free.pop(0), spec, request(spec))
            if (news := self.next()) is None:
                continue
            run_id = news.spec.run_id
            if news.event.get("out_of_memory") and slots - len(free) > 1:
                slots -= 1  # this one is given up
                heapq.heappush(ready, (places[run_id], news.spec))
                yield replace(news, event={**news.event, "event": AGAIN, "workers": slots})
                continue
            yield news  # by the time the next is asked for, the cell's status is written
            if news.event["event"] == "end":
                unfinished.discard(run_id)
                free.append(news.slot)
                for follower in waiting.pop(run_id, ()):
                    heapq.heappush(ready, follower)

    def begin(self, slot: int, spec: RunSpec, request: dict[str, Any]) -> None:
        """Start one cell on a slot that is free; its events come from `next`."""
        threading.Thread(target=self._train, args=(slot, spec, request), daemon=True).start()

    def next(self, timeout: float = 0.5) -> News | None:
        """The next news of any cell; None after `timeout` seconds without, which lets Ctrl-C in."""
        try:
            news = self._news.get(timeout=timeout)
        except queue.Empty:
            return None
        if isinstance(news, BaseException):
            raise news
        return news

    def answer(self, slot: int, go: bool) -> None:
        """Answer a report: whether the cell is to go on."""
        self._workers[slot].answer({"go": go})

    def stop(self, at_once: bool = False) -> None:
        """End all workers; ``at_once`` gives up the cells that they work on."""
        self._stopping = True
        for worker in list(self._workers.values()):
            worker.stop(at_once)
        self._workers.clear()

    def _worker(self, slot: int) -> Worker:
        worker = self._workers.get(slot)
        if worker is not None and not worker.alive:
            worker.stop()
            worker = None
        if worker is None:
            worker = Worker(self._entry, self._logs / f"worker-{slot}.log")
            self._workers[slot] = worker
        return worker

    def _train(self, slot: int, spec: RunSpec, request: dict[str, Any]) -> None:
        self._news.put(News(slot, spec, {"event": "start"}))
        try:
            for event in self._worker(slot).ask(request, self._limits):
                self._news.put(News(slot, spec, event))
        except WorkerDied as death:
            if not self._stopping:
                end = {"event": "end", "error": str(death), "out_of_memory": death.out_of_memory}
                self._news.put(News(slot, spec, end))
        except BaseException as error:  # for the main thread
            self._news.put(error)
