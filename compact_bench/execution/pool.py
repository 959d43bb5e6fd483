"""Worker processes: start them, give them cells, replace those that die, stop them."""

from __future__ import annotations

import contextlib
import heapq
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compact_bench.execution import worker as worker_module
from compact_bench.records.cells import CellWriter, read_cell
from compact_bench.suite.matrix import RunSpec

SECONDS_TO_STOP = 5


class WorkerDied(Exception):
    """The worker's process ended in the middle of a request."""


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


class Worker:
    """One worker process."""

    def __init__(self, entry: WorkerEntry, log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
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

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def ask(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Send a request and yield its events, ``end`` included. Raises WorkerDied."""
        assert self._process.stdout is not None
        try:
            self._send(request)
        except OSError as error:
            raise WorkerDied(self._death()) from error
        for line in self._process.stdout:
            event = json.loads(line)
            yield event
            if event["event"] == "end":
                return
        raise WorkerDied(self._death())

    def answer(self, message: dict[str, Any]) -> None:
        """Answer a cell's report; that a worker died meanwhile, `ask` will raise."""
        with contextlib.suppress(OSError):
            self._send(message)

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def _death(self) -> str:
        code = self._process.wait()
        if code >= 0:
            return f"worker exited with code {code}"
        hint = " (often: out of memory)" if -code == signal.SIGKILL else ""
        return f"worker killed by signal {-code}{hint}"

    def stop(self, at_once: bool = False) -> None:
        """End the process: by closing its stdin when it is idle, else by a signal."""
        if at_once:
            self._process.terminate()
        with contextlib.suppress(OSError):  # what a dead worker did not read is lost anyway
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
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

    def __init__(self, entry: WorkerEntry, logs: Path, size: int) -> None:
        self._entry = entry
        self._logs = logs
        self._size = size
        self._workers: dict[int, Worker] = {}
        self._news: queue.Queue[News | BaseException] = queue.Queue()
        self._stopping = False

    def start(self, cells: int = 1) -> None:
        """Start the workers that so many cells need: they import what a cell needs meanwhile."""
        for slot in range(min(cells, self._size)):
            self._worker(slot)

    def check(self, spec: RunSpec) -> str | None:
        """Let the first worker load the student once; return why it can't, or None."""
        try:
            *_, last = self._worker(0).ask({"do": "check", "spec": spec.to_json()})
        except WorkerDied as death:
            self.stop(at_once=True)
            return str(death)
        return last["error"]

    def run(
        self, specs: Sequence[RunSpec], request: Callable[[RunSpec], dict[str, Any]]
    ) -> Iterator[News]:
        """Yield the news of all cells until the last one has ended.

        A cell that reads another's weights waits for that one to end.
        """
        free = list(range(self._size))
        unfinished = {spec.run_id for spec in specs}
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
            yield news  # by the time the next is asked for, the cell's status is written
            if news.event["event"] == "end":
                unfinished.discard(news.spec.run_id)
                free.append(news.slot)
                for follower in waiting.pop(news.spec.run_id, ()):
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
            for event in self._worker(slot).ask(request):
                self._news.put(News(slot, spec, event))
        except WorkerDied as death:
            if not self._stopping:
                self._news.put(News(slot, spec, {"event": "end", "error": str(death)}))
        except BaseException as error:  # for the main thread
            self._news.put(error)
