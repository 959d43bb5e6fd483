"""What a worker runs in the tests of the runner, instead of training a student."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from compact_bench.errors import UserError
from compact_bench.matrix import RunSpec
from compact_bench.records import CellWriter


def check(spec: RunSpec) -> None:
    """Every student loads but the one called `broken`."""
    if spec.student["revision"] == "broken":
        raise UserError("student.id: can't load it:\nno weights")
    if spec.student["revision"] == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)


def cell(spec: RunSpec, folder: Path, mirror, plugins, progress) -> None:
    """Do what the method's setting `behave` says."""
    behave = spec.config.get("behave", "done")
    progress({"event": "phase", "phase": "train"})
    progress({"event": "step", "step": 1, "steps": 2, "loss": 1.5})
    (folder / "tries").open("a").write("x")
    print("to stdout")
    os.write(1, b"past sys.stdout\n")
    print("to stderr", file=sys.stderr)
    if behave == "raise":
        raise ValueError("two\nlines")
    if behave == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if behave == "silent":
        return
    if behave == "sleep":
        time.sleep(60)
    if behave == "environment":
        (folder / "threads").write_text(os.environ["OMP_NUM_THREADS"])
    writer = CellWriter(folder)
    state = behave if behave in ("skipped", "diverged", "failed") else "done"
    reason = "" if state == "done" else f"it is {state}"
    writer.status(state, reason, seconds=2.0, flops=100.0, tokens=10)
