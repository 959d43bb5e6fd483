"""What a running suite shows, with a clock that the tests turn."""

from __future__ import annotations

import io

import pytest
from rich import get_console
from rich.console import Console

from compact_bench.execution import progress


@pytest.fixture
def clock(monkeypatch):
    """A list whose one value is the time in seconds."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_lines_say_phase_step_loss_and_what_is_left(clock):
    lines: list[str] = []
    display = progress.LineDisplay(total=5, jobs=2, say=lines.append)
    display.started(0, "average, seed 0")
    clock[0] += 5
    display.event(0, {"event": "phase", "phase": "train"})
    clock[0] += 10
    display.event(0, {"event": "step", "step": 10, "steps": 40, "loss": 1.5})
    assert lines == ["average, seed 0: started"]  # half a minute has not passed
    clock[0] += 30
    display.event(0, {"event": "step", "step": 20, "steps": 40, "loss": 1.25})
    # 40 seconds of this phase for 20 steps: 40 more for the other 20.
    assert lines[1] == "average, seed 0: train, 20/40, loss 1.250, 0:00:40 left"
    clock[0] += 15
    display.ended(0, "average, seed 0", "failed", "no memory")
    # 60 seconds a cell, 4 cells left, two at a time.
    assert lines[2] == ("average, seed 0: failed (no memory) in 0:01:00; 1/5 cells, 0:02:00 left")


def test_a_cell_that_is_put_back_says_why_and_is_not_counted(clock):
    lines: list[str] = []
    display = progress.LineDisplay(total=2, jobs=2, say=lines.append)
    display.started(0, "average, seed 0")
    display.put_back(0, "average, seed 0", "out of memory; again, with 1 cells at a time")
    assert lines[1] == "average, seed 0: out of memory; again, with 1 cells at a time"
    display.started(1, "average, seed 0")
    clock[0] += 60
    display.ended(1, "average, seed 0", "done", "")
    assert lines[-1] == "average, seed 0: done in 0:01:00; 1/2 cells, 0:00:30 left"


def test_cells_of_other_runs_are_not_in_what_is_left(clock):
    lines: list[str] = []
    display = progress.LineDisplay(total=3, jobs=1, say=lines.append)
    display.ended_elsewhere("base", "done")
    display.started(0, "average, seed 0")
    clock[0] += 60
    display.ended(0, "average, seed 0", "done", "")
    assert lines[0] == "base: done, by another run"
    assert lines[-1] == "average, seed 0: done in 0:01:00; 1/2 cells, 0:01:00 left"


def test_the_items_of_an_evaluation_are_counted(clock):
    lines: list[str] = []
    display = progress.LineDisplay(1, 1, lines.append)
    display.started(0, "base")
    clock[0] += 20
    event = {"event": "phase", "phase": "evaluate", "task": "csqa", "items": 40}
    for done in (0, 10):
        clock[0] += 15
        display.event(0, event | {"done": done})
    assert lines[-1] == "base: evaluate csqa, 0/40, -:--:-- left"
    clock[0] += 25
    display.event(0, event | {"done": 20})
    assert lines[-1] == "base: evaluate csqa, 20/40, 0:00:40 left"


def test_a_line_without_steps_knows_no_end(clock):
    lines: list[str] = []
    display = progress.LineDisplay(1, 1, lines.append)
    display.started(0, "base")
    clock[0] += 31
    display.event(0, {"event": "phase", "phase": "load"})
    assert lines[-1] == "base: load, -:--:-- left"


def test_bars_of_the_run_and_of_each_worker(monkeypatch):
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=100, color_system=None)
    monkeypatch.setattr("rich._console", console)
    assert get_console() is console
    display = progress.BarDisplay(total=2)
    display.started(0, "single_teacher[terse], seed 0")
    display.event(0, {"event": "phase", "phase": "train"})
    display.event(0, {"event": "step", "step": 3, "steps": 40, "loss": 1.25})
    display._progress.refresh()
    drawn = text.getvalue().splitlines()
    assert any("cells" in line and "0/2" in line for line in drawn)
    bar = drawn[-1]
    assert "single_teacher[terse], seed 0" in bar and "3/40" in bar and "train, loss 1.250" in bar
    display.event(0, {"event": "phase", "phase": "evaluate", "task": "csqa", "done": 8, "items": 9})
    display._progress.refresh()
    assert "8/9 evaluate csqa" in " ".join(text.getvalue().splitlines()[-1].split())
    display.ended(0, "single_teacher[terse], seed 0", "skipped", "no [gold] answers")
    display.close()
    assert "single_teacher[terse], seed 0: skipped (no [gold] answers)" in text.getvalue()
    last = text.getvalue().splitlines()[-2:]  # and the cursor is back
    assert "1/2" in last[0] and "evaluate" not in "".join(last)
