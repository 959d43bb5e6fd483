"""The process that trains and evaluates cells, one after the other; started by pool.py.

It reads JSON lines on stdin and answers with JSON lines on what was its stdout:

    {"do": "check", "spec": {...}}                  -> {"event": "end", "error": null}
    {"do": "cell", "spec": {...}, "folder": "..."}  -> {"event": "step", ...} ... "end"

A cell that a search watches also sends {"event": "report", ...} and waits for {"go": true}, or
false where it is to stop.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import pkgutil
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from compact_bench.records.cells import CellWriter
from compact_bench.suite.matrix import RunSpec
from compact_bench.training import pruning

CELL = "compact_bench.execution.cell:run_cell"

CHECK = "compact_bench.execution.cell:preflight"

Emit = Callable[[dict[str, Any]], Any]


def main() -> None:
    """Serve requests until stdin ends."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cell", default=CELL, help="dotted path of the function that runs a cell")
    parser.add_argument("--check", default=CHECK, help="the one that loads a student once")
    options = parser.parse_args()
    emit = _protocol()
    # As an exception, so that temporary folders are removed on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    requests = Requests()
    # Before it is asked: the runner makes its plan meanwhile. What fails here fails again, and is
    # then the answer.
    with importing(), contextlib.suppress(Exception):
        pkgutil.resolve_name(options.cell)
    home = Path.cwd()
    for request in requests:
        error = None
        try:
            spec = RunSpec.from_json(request["spec"])
            if request["do"] == "check":
                with importing():  # transformers imports half of itself when it loads a model
                    pkgutil.resolve_name(options.check)(spec)
            else:
                run_cell(spec, request, options.cell, requests.with_answers(emit))
        except Exception as problem:
            traceback.print_exc()
            error = one_line(problem)
        os.chdir(home)  # a method may have left it, and the next cell's paths would be others
        requests.busy = False
        emit({"event": "end", "error": error})


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """No garbage is collected meanwhile, and what is there afterwards is taken to stay.

    Going again and again through the 800,000 objects that torch, transformers and lm-eval make
    took 1.0 of the 6.0 seconds of a worker's start.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def one_line(error: BaseException) -> str:
    """Return an exception in one line; our own errors are sentences, others need their type."""
    text = " ".join(str(error).split())
    if type(error).__module__ == "compact_bench.errors":
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _protocol() -> Emit:
    """Keep stdout for the protocol and send whatever else writes there to stderr.

    Done on file descriptors: libraries in C and child processes print past sys.stdout.
    """
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def emit(event: dict[str, Any]) -> None:
        out.write(json.dumps(event, default=str) + "\n")
        out.flush()

    return emit


class Requests:
    """The requests on stdin. A runner that is gone must not leave a worker training on."""

    def __init__(self) -> None:
        self.busy = False
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in sys.stdin:
            if line.strip():
                self._queue.put(json.loads(line))
        if self.busy:
            # With its children, which would train on. The pool gives each worker its own group.
            if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
                os.killpg(0, signal.SIGKILL)
            os._exit(1)
        self._queue.put(None)

    def with_answers(self, emit: Emit) -> Emit:
        """`emit` that waits for the answer to a report and returns it: whether to go on."""

        def emit_and_wait(event: dict[str, Any]) -> bool | None:
            emit(event)
            if event["event"] != pruning.REPORT:
                return None
            answer = self._queue.get()
            return answer is not None and answer["go"]

        return emit_and_wait

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while (request := self._queue.get()) is not None:
            self.busy = True
            yield request


def run_cell(spec: RunSpec, request: dict[str, Any], dotted: str, emit: Emit) -> None:
    """Run one cell with its output in the folder's log.txt; an error makes it a failed cell."""
    folder = Path(request["folder"])
    mirror = Path(request["mirror"]) if request.get("mirror") else None
    plugins = [Path(name) for name in request.get("plugins", [])]
    with _output_to(folder / "log.txt"):
        try:
            pkgutil.resolve_name(dotted)(spec, folder, mirror, plugins, emit)
        except Exception as error:
            traceback.print_exc()
            CellWriter(folder).status("failed", one_line(error))


@contextlib.contextmanager
def _output_to(log: Path) -> Iterator[None]:
    """Send file descriptors 1 and 2 to a log file for a while."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with log.open("a", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, old in enumerate(saved, start=1):
                os.dup2(old, number)
                os.close(old)


if __name__ == "__main__":
    main()
