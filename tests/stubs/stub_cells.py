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


def dev_cell(spec: RunSpec, folder: Path, mirror, plugins, progress) -> None:
    """Its dev NLL is |rate - 2e-3| + seed; a rate of 4e-3 diverges."""
    rate = spec.training["learning_rate"]
    (folder / "tries").open("a").write("x")
    writer = CellWriter(folder)
    if rate == 4e-3:
        writer.status("diverged", "the loss is nan")
        return
    split = "dev" if spec.evaluation["select"] else "test"
    row = {"task": "in_domain", "task_version": 1, "role": "reasoning", "split": split}
    row |= {"filter": "none", "stderr": 0.1, "n": 3, "stage": "after", "chance": 0.0}
    value = abs(rate - 2e-3) + (spec.seed or 0)
    writer.eval([row | {"metric": "marginal_nll", "value": value}])
    writer.samples([])
    writer.status("done", seconds=2.0, flops=100.0, tokens=10)
