"""Worker processes: their environment, cells that wait for others, and workers that die."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from compact_bench.execution.plan import Options, make_plan
from compact_bench.execution.pool import News, Pool, Worker, WorkerDied, WorkerEntry, record_lost
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


def test_a_cell_whose_worker_died_is_recorded_and_the_slot_goes_on(
    write_suite, plugins, tmp_path, monkeypatch
):
    monkeypatch.setenv("PYTHONPATH", str(STUBS), prepend=":")
    rows = [{"dummy": {"behave": name}, "label": name} for name in ("die", "silent", "done")]
    suite = load_suite(write_suite(methods=["still", *rows], seeds=[0]))
    options = Options(tmp_path / "results", None, (plugins,))
    plan = make_plan(suite, options)
    pool = Pool(ENTRY, tmp_path / "logs", size=1)
    for news in pool.run(plan.cells[1:], lambda spec: options.request(spec, plan.folder(spec))):
        if news.event["event"] == "end":
            record_lost(news, plan.folder(news.spec))
    pool.stop()
    died, silent, done = (read_cell(plan.folder(spec)) for spec in plan.cells[1:])
    assert died.state == silent.state == "failed" and done.state == "done"
    assert "worker killed by signal 9" in died.status["reason"]
    assert silent.status["reason"] == "the cell ended without writing its status"
    assert died.spec["label"] == "die"
