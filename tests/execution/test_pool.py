"""Worker processes: their environment, cells that wait for others, and workers that die."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from compact_bench.execution import pool as pool_module
from compact_bench.execution.plan import Options, make_plan
from compact_bench.execution.pool import (
    AGAIN,
    ELSEWHERE,
    News,
    Pool,
    TimeLimits,
    Worker,
    WorkerDied,
    WorkerEntry,
    record_lost,
)
from compact_bench.records.cells import read_cell
from compact_bench.suite.schema import load_suite

STUBS = Path(__file__).parents[1] / "stubs"
ENTRY = WorkerEntry(threads=1, cell="stub_cells:cell", check="stub_cells:check")


@dataclass(frozen=True)
class Cell:
    """As much of a cell as `Pool.run` looks at."""

    run_id: str
    after: str = ""


def test_a_worker_s_threads_are_in_its_environment(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    environment = WorkerEntry(threads=3).environment()
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    assert [environment[name] for name in names] == ["3"] * 3
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")  # a user's own choice stays
    assert WorkerEntry(threads=3).environment()["OMP_WAIT_POLICY"] == "ACTIVE"


@pytest.mark.parametrize(
    ("size", "order"),
    [(1, ["source", "reader", "other"]), (2, ["source", "other", "reader"])],
)
def test_a_cell_starts_when_the_one_that_it_reads_has_ended(tmp_path, monkeypatch, size, order):
    pool, started, ended = Pool(ENTRY, tmp_path, size), [], []

    def begin(slot, spec, request):
        assert slot < size and request == {"of": spec.run_id}
        assert not spec.after or spec.after in ended
        started.append(spec.run_id)
        pool._news.put(News(slot, spec, {"event": "end"}))

    monkeypatch.setattr(pool, "begin", begin)
    cells = [Cell("reader", after="source"), Cell("source"), Cell("other")]
    for news in pool.run(cells, lambda spec: {"of": spec.run_id}):
        ended.append(news.spec.run_id)
    assert started == ended == order


def test_a_cell_that_reads_one_of_another_run_does_not_wait(tmp_path, monkeypatch):
    pool, started = Pool(ENTRY, tmp_path, 1), []
    monkeypatch.setattr(pool, "begin", lambda slot, spec, request: started.append(spec))
    monkeypatch.setattr(pool, "next", lambda: News(0, started[0], {"event": "end"}))
    reader = Cell("reader", after="0123456789ab")
    assert [news.spec for news in pool.run([reader], lambda spec: {})] == [reader]


def test_a_worker_that_cannot_start_says_how_it_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(
        WorkerEntry, "command", lambda self: [sys.executable, "-c", "raise SystemExit(3)"]
    )
    worker = Worker(ENTRY, tmp_path / "log.txt")
    with pytest.raises(WorkerDied, match="worker exited with code 3"):
        list(worker.ask({"do": "check", "spec": {}}))
    assert not worker.alive
    worker.stop()


@pytest.mark.parametrize("line", ["hello", "[1]", '{"event": 1}', "[" * 9999, "x" * 9999])
def test_what_is_no_event_ends_the_worker_in_one_short_line(tmp_path, monkeypatch, line):
    script = f"print({line!r}, flush=True); input(); input()"
    monkeypatch.setattr(WorkerEntry, "command", lambda self: [sys.executable, "-c", script])
    worker = Worker(ENTRY, tmp_path / "log.txt")
    with pytest.raises(WorkerDied, match="worker wrote what is no event") as caught:
        list(worker.ask({"do": "check", "spec": {}}))
    assert len(str(caught.value)) < 300
    assert not worker.alive
    worker.stop()


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (TimeLimits(cell=0.01), r"took more than 0\.01 minutes \(--cell-minutes\)"),
        (TimeLimits(stall=0.01), r"stalled: nothing happened for 0\.01 minutes"),
    ],
)
def test_a_worker_that_takes_too_long_is_ended_with_its_children(
    tmp_path, monkeypatch, limits, reason
):
    child = tmp_path / "child"
    script = (
        "import os, sys, time\n"
        "child = os.fork() or time.sleep(300)\n"
        f"open({str(child)!r}, 'w').write(str(child))\n"
        "time.sleep(300)"
    )
    monkeypatch.setattr(WorkerEntry, "command", lambda self: [sys.executable, "-c", script])
    worker = Worker(ENTRY, tmp_path / "log.txt")
    _until(lambda: child.exists() and child.read_text())
    with pytest.raises(WorkerDied, match=reason):
        list(worker.ask({"do": "check", "spec": {}}, limits))
    _until(lambda: not _runs(int(child.read_text())))
    worker.stop()


def test_limits_are_of_the_monotonic_clock(monkeypatch):
    monkeypatch.setattr(pool_module.time, "monotonic", lambda: 600.0)
    assert TimeLimits().exceeded(0.0, 0.0) == ""
    assert TimeLimits(cell=10, stall=10).exceeded(0.0, 0.0) == ""
    assert "took more than 9 minutes" in TimeLimits(cell=9, stall=10).exceeded(0.0, 599.0)
    assert TimeLimits(cell=11, stall=9).exceeded(0.0, 61.0) == ""
    assert "stalled" in TimeLimits(cell=11, stall=9).exceeded(0.0, 59.0)


def _until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_one_killed_for_want_of_memory_is_done_again_with_fewer_beside_it(tmp_path, monkeypatch):
    pool, started = Pool(ENTRY, tmp_path, 2), []
    killed = {"event": "end", "error": "out of memory", "out_of_memory": True}
    # By slot: two are at work when the first is killed; alone, it may fail.
    script = [(0, killed), (1, {"event": "end"}), (1, {"event": "end"}), (1, killed)]

    def begin(slot, spec, request):
        started.append((slot, spec.run_id))

    def next_news():
        slot, event = script.pop(0)
        run_id = next(name for place, name in reversed(started) if place == slot)
        return News(slot, Cell(run_id), event)

    monkeypatch.setattr(pool, "begin", begin)
    monkeypatch.setattr(pool, "next", next_news)
    news = list(pool.run([Cell("a"), Cell("b"), Cell("c")], lambda spec: {}))
    assert started == [(0, "a"), (1, "b"), (1, "a"), (1, "c")]
    assert [(one.spec.run_id, one.event["event"]) for one in news] == [
        ("a", AGAIN), ("b", "end"), ("a", "end"), ("c", "end"),
    ]  # fmt: skip
    assert news[0].event["workers"] == 1


def _scripted(monkeypatch, pool, events):
    """Have the pool's slots tell these events one after the other; return what began."""
    began = []
    monkeypatch.setattr(pool, "begin", lambda slot, spec, request: began.append(spec.run_id))
    monkeypatch.setattr(pool, "next", lambda: News(0, Cell(began[-1]), events.pop(0)))
    return began


def test_a_cell_whose_machine_was_lost_is_done_again_once(tmp_path, monkeypatch):
    pool = Pool(ENTRY, tmp_path, 1)
    lost, end = {"event": "end", "error": "gone", "lost_machine": True}, {"event": "end"}
    began = _scripted(monkeypatch, pool, [dict(lost), end, dict(lost), dict(lost)])
    news = list(pool.run([Cell("a"), Cell("b")], lambda spec: {}))
    assert began == ["a", "a", "b", "b"]
    assert [one.event["event"] for one in news] == [AGAIN, "end", AGAIN, "end"]
    assert news[-1].event["error"] == "gone"


def test_what_others_hold_comes_last_and_a_reader_waits_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr(pool_module, "SECONDS_TO_WAIT", 0)
    pool, looks = Pool(ENTRY, tmp_path, 1), []
    began, ended = [], []
    monkeypatch.setattr(pool, "begin", lambda slot, spec, request: began.append(spec.run_id))
    end = {"event": "end"}

    def next_news():
        return News(0, Cell(began[-1]), end) if len(began) > len(ended) else None

    monkeypatch.setattr(pool, "next", next_news)

    def turn_of(spec):
        looks.append(spec.run_id)
        if spec.run_id == "theirs":
            return "held" if looks.count("theirs") < 4 else "ended"
        return "free"

    cells = [Cell("reader", after="theirs"), Cell("theirs"), Cell("own")]
    for one in pool.run(cells, lambda spec: {}, turn_of):
        if one.event["event"] == "end":
            ended.append(one)
        elif one.event["event"] == ELSEWHERE:
            assert one.spec.run_id == "theirs" and began == ["own"]
    assert began == ["own", "reader"] and looks.count("theirs") == 4


@pytest.mark.parametrize(("gpus", "seen"), [([], ["", "", ""]), (["GPU-a", "GPU-b"], None)])
def test_slots_share_out_the_gpus(tmp_path, monkeypatch, gpus, seen):
    made = []
    monkeypatch.setattr(pool_module, "Worker", lambda entry, log, device: made.append(device))
    Pool(ENTRY, tmp_path, 3, devices=gpus).start(3)
    assert made == (seen or ["GPU-a", "GPU-b", "GPU-a"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert [ENTRY.environment(name)["CUDA_VISIBLE_DEVICES"] for name in ("", "GPU-a")] == [
        "0,1", "GPU-a",
    ]  # fmt: skip


def _cells(rows, write_suite, plugins, tmp_path, monkeypatch):
    """Run a row of `dummy` for each behaviour; return the cells in that order."""
    monkeypatch.setenv("PYTHONPATH", str(STUBS), prepend=":")
    methods = ["still", *({"dummy": {"behave": name}, "label": name} for name in rows)]
    suite = load_suite(write_suite(methods=methods, seeds=[0]))
    options = Options(tmp_path / "results", None, (plugins,))
    plan = make_plan(suite, options)
    pool = Pool(ENTRY, tmp_path / "logs", size=1)
    for news in pool.run(plan.cells[1:], lambda spec: options.request(spec, plan.folder(spec))):
        if news.event["event"] == "end":
            record_lost(news, plan.folder(news.spec))
    pool.stop()
    return [read_cell(plan.folder(spec)) for spec in plan.cells[1:]]


def test_a_dead_worker_whose_child_lives_does_not_hold_the_run(
    write_suite, plugins, tmp_path, monkeypatch
):
    rows = ["orphan", "done"]
    orphan, done = _cells(rows, write_suite, plugins, tmp_path, monkeypatch)
    assert orphan.state == "failed" and "killed by signal 9" in orphan.status["reason"]
    assert done.state == "done"
    _until(lambda: not _runs(int((orphan.folder / "child").read_text())))


def test_a_worker_killed_for_want_of_memory_is_named_so(
    write_suite, plugins, tmp_path, monkeypatch
):
    counts = iter(range(99))  # Linux counts one kill more each time it is asked
    monkeypatch.setattr(pool_module, "memory_kills", lambda: next(counts))
    (died,) = _cells(["die"], write_suite, plugins, tmp_path, monkeypatch)
    assert died.status["reason"] == "out of memory: the system killed the worker"


def test_a_cell_whose_worker_died_is_recorded_and_the_slot_goes_on(
    write_suite, plugins, tmp_path, monkeypatch
):
    rows = ["die", "silent", "done"]
    died, silent, done = _cells(rows, write_suite, plugins, tmp_path, monkeypatch)
    assert died.state == silent.state == "failed" and done.state == "done"
    assert "worker killed by signal 9" in died.status["reason"]
    assert silent.status["reason"] == "the cell ended without writing its status"
    assert died.spec["label"] == "die"
