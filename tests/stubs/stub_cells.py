"""What a worker runs in the tests of the runner, instead of training a student."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from pathlib import Path

from compact_bench.errors import UserError
from compact_bench.records.cells import CellWriter
from compact_bench.suite.matrix import RunSpec


def check(spec: RunSpec) -> None:
    """Every student loads but the one called `broken`."""
    if spec.student["revision"] == "broken":
        raise UserError("student.id: can't load it:\nno weights")
    if spec.student["revision"] == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)


FAULTS = (
    "raise",
    "silent",
    "failed",
    "die",
    "raise",
    "silent",
    "failed",
    "orphan",
    "raise",
    "exit",
)


def cell(spec: RunSpec, folder: Path, mirror, plugins, progress) -> None:
    """Do what the method's setting `behave` says."""
    behave = spec.config.get("behave", "done")
    if behave == "fault":
        behave = FAULTS[(spec.seed or 0) % len(FAULTS)]
    writer = CellWriter(folder)
    progress({"event": "phase", "phase": "train"})
    progress({"event": "step", "step": 1, "steps": 2, "loss": 1.5})
    with (folder / "tries").open("a") as file:
        file.write("x")
    print("to stdout")
    os.write(1, b"past sys.stdout\n")
    print("to stderr", file=sys.stderr)
    if behave == "raise":
        raise ValueError("two\nlines")
    if behave == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if behave == "silent":
        return
    if behave == "exit":
        os._exit(3)
    if behave == "sleep":
        time.sleep(60)
    if behave == "orphan":  # dies, and leaves a child that holds its pipes
        if (child := os.fork()) == 0:
            time.sleep(300)
            os._exit(0)
        (folder / "child").write_text(str(child))
        os.kill(os.getpid(), signal.SIGKILL)
    if behave == "chdir":
        os.chdir(os.environ["ELSEWHERE"])
    if behave == "environment":
        (folder / "threads").write_text(os.environ["OMP_NUM_THREADS"])
    state = behave if behave in ("skipped", "diverged", "failed") else "done"
    reason = "" if state == "done" else f"it is {state}"
    costs = {"seconds": 2.0, "flops": 100.0, "tokens": 10}
    writer.status(state, reason, records=writer.checksums(), **costs)


def dev_cell(spec: RunSpec, folder: Path, mirror, plugins, progress) -> None:
    """Its dev NLL is |rate - 2e-3| + seed; a rate of 4e-3 diverges."""
    rate = spec.training["learning_rate"]
    with (folder / "tries").open("a") as file:
        file.write("x")
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


def tuned_cell(spec: RunSpec, folder: Path, mirror, plugins, progress) -> None:
    """Its dev NLL is (a - 1)^2 + (x - 0.3)^2 + |log2 (rate / 2e-3)| + (seed mod 10) / 100.

    Reports three times and a half of it, then twice; on old questions x is its accuracy. The
    setting `behave` says what else it does; a file `slow` in the plugins' folder has it wait.
    """
    x, a = spec.config.get("x", 0.0), spec.config.get("a", 1.0)
    rate, behave = spec.training["learning_rate"], spec.config.get("behave", "done")
    value = (a - 1) ** 2 + (x - 0.3) ** 2 + abs(math.log2(rate / 2e-3))
    value += (spec.seed or 0) % 10 / 100
    with (folder / "tries").open("a") as file:
        file.write("x")
    writer = CellWriter(folder)
    first = (folder / "tries").read_text() == "x"
    if behave == "dies once" and x == 0.9 and first:  # the default
        os.kill(os.getpid(), signal.SIGKILL)
    if behave in ("failed", "diverged", "skipped") or (behave == "x>0.5" and x > 0.5):
        state = "diverged" if behave == "x>0.5" else behave
        writer.status(state, f"it is {state}", tokens=10)
        return
    while plugins and (plugins[0] / "slow").exists():
        time.sleep(0.05)
    reports = spec.evaluation.get("reports") or {"at": []}
    values = []
    for point in range(len(reports["at"])):
        values.append(value * (3.5 - point))
        (folder / "reports.json").write_text(json.dumps(values))
        if progress({"event": "report", "point": point, "value": values[-1]}) is False:
            writer.status("pruned", "stopped", tokens=5, flops=50.0)
            return
    select = spec.evaluation["select"]
    row = {"task_version": 1, "filter": "strict", "stderr": 0.1, "n": 3, "stage": "after"}
    row |= {"split": "dev" if select else "test", "chance": 0.0}
    rows = [
        {"task": "in_domain", "role": "reasoning", "metric": "marginal_nll", "value": value},
        {"task": "in_domain", "role": "reasoning", "metric": "accuracy", "value": 0.5},
    ]
    if len(spec.evaluation["tasks"]) > 1:
        rows.append({"task": "old", "role": "forgetting", "metric": "accuracy", "value": x})
    writer.eval([row | one for one in rows])
    items = [{"task": "in_domain", "question_id": str(n), "stage": "after", "answer": "1",
              "output": "1", "extracted": "1", "right": n % 2 == 0, "marginal_nll": value + n}
             for n in range(4)]  # fmt: skip
    writer.samples(items)
    costs = {"seconds": 2.0, "flops": 100.0, "tokens": 10}
    writer.status("done", records=writer.checksums(), **costs)
