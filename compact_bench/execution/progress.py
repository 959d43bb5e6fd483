"""The display of a running suite: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

SECONDS_BETWEEN_LINES = 30.0
SECONDS_OF_PACE = 24 * 3600.0  # a cell may take an hour, and the pace is of several


def clock_time(seconds: float | None) -> str:
    """Format seconds as ``h:mm:ss``, as rich does; unknown is ``-:--:--``.

    >>> clock_time(75), clock_time(None)
    ('0:01:15', '-:--:--')
    """
    return "-:--:--" if seconds is None else str(timedelta(seconds=round(seconds)))


def _phase(event: dict[str, Any]) -> str:
    """Return ``train``, or with its task ``evaluate svamp``."""
    return " ".join(str(event[key]) for key in ("phase", "task") if event.get(key))


def _count(event: dict[str, Any]) -> tuple[int, int]:
    """Return the steps of a training, or the items of an evaluation: done and all of them."""
    names = ("done", "items") if event["event"] == "phase" else ("step", "steps")
    done, total = (int(event.get(name) or 0) for name in names)
    return done, total


def _loss(event: dict[str, Any]) -> str:
    loss = event.get("loss")
    return f", loss {loss:.3f}" if isinstance(loss, (int, float)) else ""


@dataclass
class _CellPace:
    """The phase of a cell, and the times that its rest is estimated from."""

    name: str
    began: float
    phase_began: float
    printed: float
    phase: str = "start"


class LineDisplay:
    """One line when a cell starts or ends, and one now and then between.

    By hand: rich draws a display that changes, and in a pipe or a log shows only its last state.
    """

    def __init__(self, total: int, jobs: int, say: Callable[[str], None]) -> None:
        self._total, self._jobs, self._say = total, jobs, say
        self._cells: dict[int, _CellPace] = {}
        self._seconds: list[float] = []  # of the cells that ended

    def started(self, slot: int, name: str) -> None:
        """Print that a cell begins."""
        now = time.monotonic()
        self._cells[slot] = _CellPace(name, now, now, now)
        self._say(f"{name}: started")

    def event(self, slot: int, event: dict[str, Any]) -> None:
        """Print ``average, seed 0: train, 50/200, loss 1.234, 0:01:15 left``, now and then."""
        cell = self._cells[slot]
        now = time.monotonic()
        if event["event"] == "phase" and _phase(event) != cell.phase:
            cell.phase, cell.phase_began = _phase(event), now
        if now - cell.printed < SECONDS_BETWEEN_LINES:
            return
        cell.printed = now
        done, total = _count(event)
        left = (now - cell.phase_began) * (total - done) / done if done else None
        count = f", {done}/{total}" if total else ""
        self._say(f"{cell.name}: {cell.phase}{count}{_loss(event)}, {clock_time(left)} left")

    def ended(self, slot: int, name: str, state: str, reason: str) -> None:
        """Print how a cell ended and, at the mean pace of the cells so far, what is left."""
        seconds = time.monotonic() - self._cells.pop(slot).began
        self._seconds.append(seconds)
        done = len(self._seconds)
        left = sum(self._seconds) / done * (self._total - done) / self._jobs
        why = f" ({reason})" if reason else ""
        count = f"{done}/{self._total} cells, {clock_time(left)} left"
        self._say(f"{name}: {state}{why} in {clock_time(seconds)}; {count}")

    def put_back(self, slot: int, name: str, reason: str) -> None:
        """Print why a cell will be done again."""
        del self._cells[slot]
        self._say(f"{name}: {reason}")

    def ended_elsewhere(self, name: str, state: str) -> None:
        """Print how a cell ended that another run did."""
        self._total -= 1
        self.note(f"{name}: {state}, by another run")

    def note(self, line: str) -> None:
        """Print a line that is of no cell of this run."""
        self._say(line)

    def close(self) -> None:
        """Nothing to restore."""


class BarDisplay:
    """A bar for the run and one for each worker's cell, by rich."""

    def __init__(self, total: int) -> None:
        from rich import progress

        self._progress = progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(bar_width=24),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[detail]}", markup=False),
            progress.TimeRemainingColumn(),
            speed_estimate_period=SECONDS_OF_PACE,
        )
        self._all = self._progress.add_task("cells", total=total, detail="")
        self._tasks: dict[int, progress.TaskID] = {}
        self._phases: dict[int, str] = {}
        self._progress.start()

    def started(self, slot: int, name: str) -> None:
        """Add the cell's bar."""
        self._phases[slot] = "start"
        self._tasks[slot] = self._progress.add_task(name, total=None, detail="start")

    def event(self, slot: int, event: dict[str, Any]) -> None:
        """Move the cell's bar; a new phase begins at 0 with a pace of its own."""
        task = self._tasks[slot]
        if event["event"] == "phase" and _phase(event) != self._phases[slot]:
            self._phases[slot] = _phase(event)
            self._progress.reset(task, detail="")
        done, total = _count(event)
        detail = self._phases[slot] + _loss(event)
        self._progress.update(task, total=total or None, completed=done, detail=detail)

    def ended(self, slot: int, name: str, state: str, reason: str) -> None:
        """Remove the cell's bar and leave a line where the cell did not simply succeed."""
        self._progress.remove_task(self._tasks.pop(slot))
        if state != "done":
            self.note(f"{name}: {state} ({reason})")
        self._progress.advance(self._all)

    def put_back(self, slot: int, name: str, reason: str) -> None:
        """Remove the cell's bar and leave a line: it will be done again."""
        self._progress.remove_task(self._tasks.pop(slot))
        self.note(f"{name}: {reason}")

    def ended_elsewhere(self, name: str, state: str) -> None:
        """Leave a line where the cell that another run did did not simply succeed."""
        if state != "done":
            self.note(f"{name}: {state}, by another run")
        self._progress.advance(self._all)

    def note(self, line: str) -> None:
        """Leave a line that is of no cell of this run."""
        self._progress.console.print(line, markup=False)

    def close(self) -> None:
        """Stop drawing."""
        self._progress.stop()


Display = LineDisplay | BarDisplay  # of the cells of a run; `slot` is the worker's number
