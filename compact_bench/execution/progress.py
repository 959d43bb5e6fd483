"""What a running suite shows: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

SECONDS_BETWEEN_LINES = 30.0


class Display(Protocol):
    """Told of every event of a run."""

    def started(self, slot: int, name: str) -> None:
        """Tell that a worker begins a cell."""

    def event(self, slot: int, event: dict[str, Any]) -> None:
        """Tell what a worker reports of its cell."""

    def ended(self, slot: int, name: str, state: str, reason: str) -> None:
        """Tell how a cell ended."""

    def close(self) -> None:
        """Leave the terminal as it was."""


@dataclass
class Track:
    """How far one cell is, and how long the rest of its phase will take."""

    name: str
    clock: Callable[[], float] = time.monotonic
    phase: str = "start"
    step: int = 0
    steps: int = 0
    loss: float | None = None
    began: float = field(default=0.0)
    phase_began: float = field(default=0.0)

    def __post_init__(self) -> None:
        self.began = self.phase_began = self.clock()

    def take(self, event: dict[str, Any]) -> None:
        """Take in a ``phase`` or ``step`` event."""
        if event["event"] == "phase":
            self.phase = str(event.get("phase", ""))
            self.step = self.steps = 0
            self.loss = None
            self.phase_began = self.clock()
        elif event["event"] == "step":
            self.step = int(event.get("step") or 0)
            self.steps = int(event.get("steps") or 0)
            self.loss = event.get("loss")

    @property
    def seconds(self) -> float:
        """Seconds since the cell began."""
        return self.clock() - self.began

    @property
    def left(self) -> float | None:
        """Seconds that the rest of this phase takes at the pace so far; None if unknown."""
        if not self.step or not self.steps:
            return None
        return (self.clock() - self.phase_began) * (self.steps - self.step) / self.step

    def text(self) -> str:
        """Say phase, step and loss: ``train, step 50/200, loss 1.234``."""
        parts = [self.phase]
        if self.steps:
            parts.append(f"step {self.step}/{self.steps}")
        if isinstance(self.loss, (int, float)):
            parts.append(f"loss {self.loss:.3f}")
        return ", ".join(parts)


def clock_time(seconds: float | None) -> str:
    """Format seconds as ``m:ss`` or ``h:mm:ss``; unknown is ``-:--``.

    >>> clock_time(75), clock_time(3675), clock_time(None)
    ('1:15', '1:01:15', '-:--')
    """
    if seconds is None:
        return "-:--"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Overall:
    """Counts the cells of a run and says when the last will end."""

    def __init__(self, total: int, jobs: int) -> None:
        self.total = total
        self.jobs = jobs
        self.done = 0
        self._spent = 0.0

    def ended(self, seconds: float) -> None:
        """Count a cell that took ``seconds``."""
        self.done += 1
        self._spent += seconds

    @property
    def left(self) -> float | None:
        """Seconds until the last cell ends, at the mean pace so far; None before the first."""
        if not self.done:
            return None
        return self._spent / self.done * (self.total - self.done) / self.jobs


class LineDisplay:
    """One line when a cell starts or ends, and one now and then between."""

    def __init__(self, total: int, jobs: int, say: Callable[[str], None]) -> None:
        self._overall = Overall(total, jobs)
        self._say = say
        self._tracks: dict[int, Track] = {}
        self._last: dict[int, float] = {}

    def started(self, slot: int, name: str) -> None:
        """Print that a cell begins."""
        self._tracks[slot] = Track(name)
        self._last[slot] = time.monotonic()
        self._say(f"{name}: started")

    def event(self, slot: int, event: dict[str, Any]) -> None:
        """Print a line if the last one is long ago."""
        track = self._tracks[slot]
        track.take(event)
        if time.monotonic() - self._last[slot] >= SECONDS_BETWEEN_LINES:
            self._last[slot] = time.monotonic()
            self._say(f"{track.name}: {track.text()}, {clock_time(track.left)} left")

    def ended(self, slot: int, name: str, state: str, reason: str) -> None:
        """Print how a cell ended and how long the rest takes."""
        track = self._tracks.pop(slot)
        self._overall.ended(track.seconds)
        why = f" ({reason})" if reason else ""
        count = f"{self._overall.done}/{self._overall.total} cells"
        left = clock_time(self._overall.left)
        self._say(f"{name}: {state}{why} in {clock_time(track.seconds)}; {count}, {left} left")

    def close(self) -> None:
        """Nothing to restore."""


class BarDisplay:
    """A bar for the run and one for each worker's cell, by rich."""

    def __init__(self, total: int, jobs: int) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        self._overall = Overall(total, jobs)
        self._tracks: dict[int, Track] = {}
        self._tasks: dict[int, Any] = {}
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[detail]}", markup=False),
            TextColumn("{task.fields[left]} left", markup=False),
        )
        self._progress.start()
        self._all = self._progress.add_task("cells", total=total, detail=f"0/{total}", left="-:--")

    def started(self, slot: int, name: str) -> None:
        """Add the cell's bar."""
        self._tracks[slot] = Track(name)
        self._tasks[slot] = self._progress.add_task(name, total=None, detail="", left="-:--")

    def event(self, slot: int, event: dict[str, Any]) -> None:
        """Move the cell's bar."""
        track = self._tracks[slot]
        track.take(event)
        self._progress.update(
            self._tasks[slot],
            total=track.steps or None,
            completed=track.step,
            detail=track.text(),
            left=clock_time(track.left),
        )

    def ended(self, slot: int, name: str, state: str, reason: str) -> None:
        """Remove the cell's bar and leave a line where the cell did not simply succeed."""
        track = self._tracks.pop(slot)
        self._overall.ended(track.seconds)
        self._progress.remove_task(self._tasks.pop(slot))
        if state != "done":
            self._progress.console.print(f"{name}: {state} ({reason})", markup=False)
        self._progress.update(
            self._all,
            completed=self._overall.done,
            detail=f"{self._overall.done}/{self._overall.total}",
            left=clock_time(self._overall.left),
        )

    def close(self) -> None:
        """Stop drawing."""
        self._progress.stop()
