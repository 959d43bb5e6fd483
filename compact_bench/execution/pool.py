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
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from compact_bench.errors import MachineError
from compact_bench.execution import worker as worker_module
from compact_bench.records.cells import CellWriter, read_cell
from compact_bench.suite.matrix import RunSpec
from compact_bench.utils.leases import TakenOver, lent
from compact_bench.utils.processes import memory_kills

SECONDS_TO_STOP = 5
SECONDS_TO_LOOK = 0.5  # between looks at a worker's process, and at its time
AGAIN = "again"  # the event of a cell that will be done once more
ELSEWHERE = "elsewhere"  # the event of a cell that another run has ended
WAITING = "waiting"  # the event where all that is left is held by other runs
NOBODY = -1  # the slot of these two
SECONDS_TO_WAIT = 1.0  # between looks at cells that other runs hold
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

    def environment(self, device: str = "") -> dict[str, str]:
        """Return a worker's environment: threads are read when torch is imported, not later.

        device: the only GPU that it sees, as CUDA names it; "" leaves it all of them.
        """
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
            **({"CUDA_VISIBLE_DEVICES": device} if device else {}),
        }


NO_LIMITS = TimeLimits()


class Worker:
    """One worker process."""

    def __init__(self, entry: WorkerEntry, log: Path, device: str = "") -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self._kills = memory_kills()
        with log.open("a", encoding="utf-8") as stderr:
            # A session of its own: Ctrl-C reaches the runner alone, which then stops the workers.
            self._process = subprocess.Popen(
                entry.command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=entry.environment(device),
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
    """Record a cell as failed whose worker died, or that ended without writing its status.

    One that another run has taken over is that one's to record.
    """
    if news.event.get("taken_over"):
        return
    error = news.event.get("error")
    if error is not None or read_cell(folder).state == "missing":
        reason = error or "the cell ended without writing its status"
        CellWriter(folder).status("failed", reason)


Turn = Literal["free", "held", "ended"]  # of a cell: ours to do, another run's, or done by one


class CellQueue:
    """The cells of a run that have not ended, in their order.

    One that reads another's weights waits for that one to end; one that another run holds is
    looked at again after a while.
    """

    def __init__(self, specs: Sequence[RunSpec]) -> None:
        self.unfinished = {spec.run_id for spec in specs}
        self._places = {spec.run_id: place for place, spec in enumerate(specs)}
        self._ready: list[tuple[int, RunSpec]] = []  # a heap, by the place in specs
        self._held: list[RunSpec] = []  # by other runs
        self._looked = time.monotonic()
        self._waiting: dict[str, list[RunSpec]] = {}  # by the run id of whom they wait for
        for spec in specs:
            if spec.after in self.unfinished:
                self._waiting.setdefault(spec.after, []).append(spec)
            else:
                self.put_back(spec)

    def put_back(self, spec: RunSpec) -> None:
        """Have a cell done again, in its place."""
        heapq.heappush(self._ready, (self._places[spec.run_id], spec))

    def ended(self, spec: RunSpec) -> None:
        """Take a cell out, and let those begin that waited for it."""
        self.unfinished.discard(spec.run_id)
        for follower in self._waiting.pop(spec.run_id, ()):
            self.put_back(follower)

    def next(self, turn_of: Callable[[RunSpec], Turn]) -> tuple[RunSpec, Turn] | None:
        """The next cell that is to be done, or that another run has ended; None for now."""
        if self._held and time.monotonic() - self._looked >= SECONDS_TO_WAIT:
            for spec in self._held:
                self.put_back(spec)
            self._held.clear()
        while self._ready:
            _, spec = heapq.heappop(self._ready)
            if (turn := turn_of(spec)) != "held":
                return spec, turn
            self._held.append(spec)
            self._looked = time.monotonic()
        return None

    @property
    def held(self) -> int:
        """How many cells other runs held at the last look."""
        return len(self._held)


class Pool:
    """Runs cells on several workers; each cell ends with an ``end`` event whose error is set
    if the worker died, and its slot goes on with a new worker.

    With an executor its jobs run the cells, on whatever machine, each in a worker of its own. With
    devices, the names of GPUs, a slot's worker sees one of them alone.
    """

    def __init__(
        self,
        entry: WorkerEntry,
        logs: Path,
        size: int,
        limits: TimeLimits = NO_LIMITS,
        executor: Executor | None = None,
        devices: Sequence[str] = (),
    ) -> None:
        self._entry = entry
        self._logs = logs
        self._size = size
        self._limits = limits
        self._executor = executor
        self._devices = devices
        self._workers: dict[int, Worker] = {}
        self._news: queue.Queue[News | BaseException] = queue.Queue()
        self._stopping = False

    def start(self, cells: int = 1) -> None:
        """Start the workers that so many cells need: they import what a cell needs meanwhile."""
        for slot in range(1 if self._executor else min(cells, self._size)):
            self._worker(slot)

    def check(self, spec: RunSpec) -> str | None:
        """Let the first worker load the student once; return why it can't, or None.

        On this machine, which may be the only one that reaches a model hub, and has no queue.
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
        if self._executor:
            self._workers.pop(0).stop()  # cells run elsewhere
        return last["error"]

    def run(
        self,
        specs: Sequence[RunSpec],
        request: Callable[[RunSpec], dict[str, Any]],
        turn_of: Callable[[RunSpec], Turn] = lambda spec: "free",
    ) -> Iterator[News]:
        """Yield the news of all cells until the last one has ended.

        A cell that reads another's weights waits for that one to end. Two are done again, and the
        event is then AGAIN: one whose worker was killed for want of memory, while others were at
        work, with one worker fewer; one whose machine was lost, once. turn_of: asked before a
        cell begins; cells that other runs hold come last, and ELSEWHERE when they have ended.
        """
        free, slots = list(range(self._size)), self._size
        cells, lost, waited = CellQueue(specs), set[str](), False
        while cells.unfinished:
            while free and (found := cells.next(turn_of)):
                spec, turn = found
                if turn == "free":
                    self.begin(free.pop(0), spec, request(spec))
                else:
                    yield News(NOBODY, spec, {"event": ELSEWHERE})
                    cells.ended(spec)
            if cells.held and len(free) == slots and not waited:
                yield News(NOBODY, specs[0], {"event": WAITING, "cells": cells.held})
                waited = True
            if not cells.unfinished or (news := self.next()) is None:
                continue
            spec, again = news.spec, {**news.event, "event": AGAIN}
            if news.event.get("out_of_memory") and slots - len(free) > 1:
                slots -= 1  # this one is given up
                cells.put_back(spec)
                yield replace(news, event={**again, "workers": slots})
                continue
            if news.event.get("lost_machine") and spec.run_id not in lost:
                lost.add(spec.run_id)
                free.append(news.slot)
                cells.put_back(spec)
                yield replace(news, event=again)
                continue
            yield news  # by the time the next is asked for, the cell's status is written
            if news.event["event"] == "end":
                cells.ended(spec)
                free.append(news.slot)

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
        if self._executor:
            self._executor.shutdown(wait=not at_once, cancel_futures=at_once)
        for worker in list(self._workers.values()):
            worker.stop(at_once)
        self._workers.clear()

    def _worker(self, slot: int) -> Worker:
        worker = self._workers.get(slot)
        if worker is not None and not worker.alive:
            worker.stop()
            worker = None
        if worker is None:
            device = self._devices[slot % len(self._devices)] if self._devices else ""
            worker = Worker(self._entry, self._logs / f"worker-{slot}.log", device)
            self._workers[slot] = worker
        return worker

    def _train(self, slot: int, spec: RunSpec, request: dict[str, Any]) -> None:
        self._news.put(News(slot, spec, {"event": "start"}))
        try:
            if self._executor:
                end = self._in_executor(self._executor, spec, request)
                if not self._stopping:
                    self._news.put(News(slot, spec, end))
                return
            for event in self._worker(slot).ask(request, self._limits):
                self._news.put(News(slot, spec, event))
        except WorkerDied as death:
            if not self._stopping:
                end = {"event": "end", "error": str(death), "out_of_memory": death.out_of_memory}
                self._news.put(News(slot, spec, end))
        except BaseException as error:  # for the main thread
            self._news.put(error)

    def _in_executor(
        self, executor: Executor, spec: RunSpec, request: dict[str, Any]
    ) -> dict[str, Any]:
        """The last event of a cell that a job of the executor ran."""
        log = self._logs.absolute() / f"worker-of-{spec.run_id}.log"
        try:
            return executor.submit(run_request, self._entry, request, self._limits, log).result()
        except Exception as error:  # whatever an executor makes of a lost machine
            reason = worker_module.one_line(error)[:LONGEST_SHOWN]
            return {
                "event": "end",
                "error": f"its machine was lost: {reason}",
                "lost_machine": True,
            }


def run_request(
    entry: WorkerEntry, request: dict[str, Any], limits: TimeLimits, log: Path
) -> dict[str, Any]:
    """Have a new worker of this machine, which may be a cluster's, run one cell; its last event.

    Nothing is run where the lease of `request` was given up meanwhile: the run that asked for it
    is dead, and another one may be at the cell.
    """
    try:
        with lent(Path(request["lease"]), request["token"]):
            worker = Worker(entry, log)
            try:
                *_, last = worker.ask(request, limits)
            finally:
                worker.stop()
        return last
    except TakenOver as error:
        return {"event": "end", "error": str(error), "taken_over": True}
    except WorkerDied as death:
        return {"event": "end", "error": str(death)}
