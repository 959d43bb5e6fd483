"""The runner and its workers, with a stub in place of the function that trains a cell."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from compact_bench.commands.run import run_suite
from compact_bench.errors import MachineError, UserError
from compact_bench.execution import pool
from compact_bench.execution import run as execution
from compact_bench.execution.plan import Options, make_plan
from compact_bench.execution.pool import WorkerEntry
from compact_bench.records.cells import CellWriter, read_cells
from compact_bench.records.suite_record import read_suite_record
from compact_bench.report import page
from compact_bench.suite.schema import load_suite
from compact_bench.utils.leases import Leases

STUBS = Path(__file__).parents[1] / "stubs"
ENTRY = WorkerEntry(threads=1, cell="stub_cells:cell", check="stub_cells:check")


@pytest.fixture(autouse=True)
def _stubs(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(STUBS))
    monkeypatch.setattr(page, "show", lambda root, say, only=(): say("the table"))


@pytest.fixture
def results(tmp_path):
    return tmp_path / "results"


@pytest.fixture
def go(write_suite, plugins, results):
    """Run the tiny suite; return exit code, lines, and cells by their name."""

    def run(*rows, overrides=(), jobs=None, retry=False, only=()):
        suite = load_suite(write_suite(methods=["still", *rows], seeds=[0]), "mini", overrides)
        options = Options(results, None, (plugins,), only, jobs, retry)
        lines: list[str] = []
        code = run_suite(suite, options, lines.append, ENTRY)
        cells = {cell.spec["label"]: cell for cell in read_cells(results / "tiny/mini")}
        return code, lines, cells

    return run


def _behave(*names):
    return [{"dummy": {"behave": name}} for name in names]


def _tries(cell) -> int:
    return len((cell.folder / "tries").read_text())


def test_all_cells_are_done_and_nothing_is_repeated(go):
    code, lines, cells = go("dummy")
    assert code == 0
    assert {label: cell.state for label, cell in cells.items()} == {
        "still": "done",
        "dummy": "done",
    }
    assert "the table" in lines
    code, lines, cells = go("dummy")
    assert code == 0
    assert [_tries(cell) for cell in cells.values()] == [1, 1]
    assert "tiny mini: 2 cells, 2 of them kept" in lines


def test_failures_are_recorded_and_the_other_cells_go_on(go):
    code, lines, cells = go(*_behave("raise", "die", "silent", "diverged", "skipped"), "dummy")
    assert code == 1
    status = {label.removeprefix("dummy"): cell.status for label, cell in cells.items()}
    assert status["(behave=raise)"]["reason"] == "ValueError: two lines"
    assert "killed by signal 9" in status["(behave=die)"]["reason"]
    assert "without writing its status" in status["(behave=silent)"]["reason"]
    states = [status[f"(behave={name})"]["state"] for name in ("raise", "die", "silent")]
    assert states == ["failed"] * 3
    assert status["(behave=diverged)"]["state"] == "diverged"
    assert status["(behave=skipped)"]["state"] == "skipped"
    assert status["(behave=done)"]["state"] == "done"
    assert any("worker killed by signal 9" in line for line in lines)


def test_of_200_cells_with_a_fault_in_every_tenth_180_are_done(
    write_suite, plugins, results, data_files
):
    """Faults of five kinds, some of which end the worker or leave a child of it behind."""
    rows = [{"dummy": {}, "label": f"row {number}"} for number in range(9)]
    path = write_suite(
        methods=[*rows, {"dummy": {"behave": "fault"}, "label": "faulty"}],
        compare_to="row 0",
        seeds=list(range(20)),
    )
    suite, options = load_suite(path), Options(results, None, (plugins,))
    lines: list[str] = []
    assert run_suite(suite, options, lines.append, ENTRY) == 1
    assert "cells: 180 done, 20 failed" in lines
    cells = read_cells(results / "tiny/mini")
    done = [cell for cell in cells if cell.state == "done"]
    failed = [cell for cell in cells if cell.state == "failed"]
    assert len(done) == 180 and {cell.spec["label"] for cell in failed} == {"faulty"}
    reasons = Counter(cell.status["reason"] for cell in failed)
    assert reasons == {
        "ValueError: two lines": 6,
        "the cell ended without writing its status": 4,
        "it is failed": 4,
        "worker killed by signal 9 (often: out of memory)": 4,
        "worker exited with code 3": 2,
    }
    assert {_tries(cell) for cell in cells} == {1}
    # The next run does the 20 again, and nothing else; nothing lies outside the results.
    pending = make_plan(suite, options).pending()
    assert {spec.run_id for spec in pending} == {cell.run_id for cell in failed}
    made = {results, plugins, path, *data_files}
    assert {p for p in path.parent.iterdir() if p.suffix != ".lock"} == made


def test_failed_cells_are_tried_again_and_diverged_ones_only_when_asked(go):
    rows = _behave("raise", "diverged")
    go(*rows)
    _, _, cells = go(*rows)
    assert [_tries(cells[f"dummy(behave={name})"]) for name in ("raise", "diverged")] == [2, 1]
    _, _, cells = go(*rows, retry=True)
    assert [_tries(cells[f"dummy(behave={name})"]) for name in ("raise", "diverged")] == [3, 2]


def test_exit_code_0_where_every_cell_is_done_or_skipped(go):
    assert go(*_behave("skipped"))[0] == 0


@pytest.mark.parametrize("damage", ["gone", "cut", "changed"])
def test_a_done_cell_whose_records_are_damaged_is_done_again(go, damage):
    _, _, cells = go("dummy")
    spec = cells["dummy"].folder / "spec.json"
    text = spec.read_text()
    contents = {"cut": text[:-9], "changed": text.replace("dummy", "dumby")}
    spec.unlink() if damage == "gone" else spec.write_text(contents[damage])
    code, lines, cells = go("dummy")
    assert code == 0
    assert "tiny mini: 2 cells, 1 of them kept" in lines
    assert _tries(cells["dummy"]) == 2 and spec.read_text() == text


def test_a_method_that_leaves_the_directory_ruins_no_other_cell(
    write_suite, plugins, tmp_path, monkeypatch
):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setenv("ELSEWHERE", str(elsewhere))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (STUBS, STUBS.parents[1]))))
    monkeypatch.chdir(tmp_path)
    suite = load_suite(write_suite(methods=["still", *_behave("chdir"), "dummy"], seeds=[0]))
    options = Options(Path("results"), Path("mirror"), (Path("plugins"),))
    assert run_suite(suite, options, print, ENTRY) == 0
    assert {cell.state for cell in read_cells(Path("results/tiny/mini"))} == {"done"}
    assert list(elsewhere.iterdir()) == []


def test_what_a_kill_left_half_written_is_removed(go, results):
    go(*_behave("failed"))
    (cell,) = [c for c in read_cells(results / "tiny/mini") if c.state == "failed"]
    left = results / "tiny/mini/.suite.json.12345678.part", cell.folder / "weights/.a.bin.1.part"
    left[1].parent.mkdir()
    for path in left:
        path.write_text("half")
    go(*_behave("failed"))
    assert not any(path.exists() for path in left)


def test_code_of_a_model_hub_runs_only_where_the_command_allows_it(write_suite, plugins, results):
    suite = load_suite(write_suite(student={"id": "nano", "trust_remote_code": True}))
    line = r"tiny\.yaml:\d+.*trust_remote_code.*add --trust-remote-code"
    with pytest.raises(UserError, match=line):
        execution.run(suite, Options(results, None, (plugins,)), print, ENTRY)
    assert not results.exists()
    allowed = Options(results, None, (plugins,), trust_remote_code=True)
    assert execution.run(suite, allowed, print, ENTRY) == 0


def test_only_runs_the_named_row_but_plans_them_all(go, results):
    code, _, cells = go("dummy", only=("dummy",))
    assert code == 0
    assert list(cells) == ["dummy"]
    planned = read_suite_record(results / "tiny/mini").cells
    assert [cell["label"] for cell in planned] == ["still", "dummy"]


def test_output_of_a_cell_is_in_its_log(go):
    _, _, cells = go("dummy")
    log = (cells["dummy"].folder / "log.txt").read_text()
    assert {"to stdout", "past sys.stdout", "to stderr"} <= set(log.splitlines())


def test_two_jobs_share_the_cells(go):
    code, _, cells = go(*_behave("environment", "done", "skipped"), jobs=2)
    assert code == 0
    assert len(cells) == 4
    assert (cells["dummy(behave=environment)"].folder / "threads").read_text() == "1"


@pytest.mark.parametrize(
    ("revision", "error", "line"),
    [
        ("broken", UserError, r"tiny\.yaml.*: student\.id: can't load it: no weights"),
        # Not the input's fault, and no line of the suite is named.
        ("deadly", MachineError, r"^nothing was started: .*killed by signal 9.*worker-0\.log$"),
    ],
)
def test_a_student_that_cannot_be_loaded_stops_before_any_cell(go, results, revision, error, line):
    with pytest.raises(error, match=line):
        go("dummy", overrides=[f"student.revision={revision}"])
    assert read_cells(results / "tiny/mini") == []
    assert not (results / "tiny/mini/suite.json").exists()


def test_the_first_worker_starts_before_the_plan_and_ends_with_a_plan_that_fails(
    write_suite, plugins, results, monkeypatch
):
    started, alive = [], []

    class Watched(pool.Worker):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            started.append(self)

    monkeypatch.setattr(pool, "Worker", Watched)
    suite = load_suite(write_suite(methods=["still", "no_such"]), "mini")
    options = Options(results, None, (plugins,))
    with pytest.raises(UserError, match="no_such"):
        execution.run(suite, options, print, ENTRY, lambda: alive.extend(w.alive for w in started))
    assert alive == [True]
    assert not started[0].alive


def test_unwritable_results_folder(go, results):
    results.write_text("a file is in the way")
    with pytest.raises(UserError, match="can't write to the results folder"):
        go("dummy")


def test_cells_of_another_run_are_waited_for_and_not_done_again(write_suite, plugins, results):
    suite = load_suite(write_suite(methods=["still", "dummy"], seeds=[0, 1, 2]))
    options, lines = Options(results, None, (plugins,)), []
    plan = make_plan(suite, options)
    theirs, dying, since = plan.cells[1:]
    other = Leases()
    for spec in (theirs, dying):
        assert other.take(execution.lease_path(plan, spec))

    def say(line):
        lines.append(line)
        if line == "tiny mini: 4 cells, 0 of them kept":  # planned, and then done by another
            CellWriter(plan.folder(since)).status("done", seconds=1.0)
        if line == "waiting for 2 cells that other runs are doing":
            CellWriter(plan.folder(theirs)).status("done", seconds=1.0)
            other.close()  # of the second cell nothing is there

    assert execution.run(suite, options, say, ENTRY) == 0
    assert {f"dummy, seed {seed}: done, by another run" for seed in (0, 2)} <= {*lines}
    assert any(line.startswith("dummy, seed 1: done in") for line in lines)
    assert not any((plan.folder(spec) / "tries").exists() for spec in (theirs, since))
    assert not list((results / "tiny/mini/runs").glob(".*.lease"))


def test_two_runs_of_one_folder_do_each_cell_once(write_suite, plugins, results):
    rows = [{"dummy": {}, "label": f"row {number}"} for number in range(4)]
    path = write_suite(methods=["still", *rows], seeds=[0, 1])
    command = [sys.executable, "-c", INTERRUPTED, str(path), str(results), str(plugins)]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=120)[0] for process in runs]
    assert [process.returncode for process in runs] == [0, 0], outputs
    assert all("cells: 9 done" in output for output in outputs)
    cells = read_cells(results / "tiny/mini")
    assert [_tries(cell) for cell in cells] == [1] * 9


INTERRUPTED = """
import signal
import sys
from pathlib import Path
from compact_bench.execution.run import run
from compact_bench.execution.plan import Options
from compact_bench.execution.pool import WorkerEntry
from compact_bench.suite.schema import load_suite
from compact_bench.utils.leases import Leases

# A shell starts background jobs with Ctrl-C ignored; this process is in the foreground's place.
signal.signal(signal.SIGINT, signal.default_int_handler)
suite, results, plugins = sys.argv[1:]
entry = WorkerEntry(1, "stub_cells:cell", "stub_cells:check")
options = Options(Path(results), None, (Path(plugins),))
say = lambda line: print(line, flush=True)
sys.exit(run(load_suite(suite), options, say, entry))
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_runner_leaves_no_worker(write_suite, plugins, results, how):
    path = write_suite(methods=["still", *_behave("sleep")], seeds=[0])
    command = [sys.executable, "-c", INTERRUPTED, str(path), str(results), str(plugins)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    seen = []
    while "dummy, seed 0: started\n" not in seen:
        seen.append(process.stdout.readline())
        assert seen[-1], seen
    worker = _children(process.pid)
    assert worker
    process.send_signal(how)
    rest = process.communicate(timeout=60)[0]
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert "cells left: 1. The same command goes on from here." in rest
    with Leases() as leases:  # of a killed run they are free, too
        (held,) = {cell.run_id for cell in read_cells(results / "tiny/mini")} - _done(results)
        assert leases.take(results / f"tiny/mini/runs/.{held}.lease")
    deadline = time.monotonic() + 60
    while any(_runs(pid) for pid in worker):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _done(results) -> set[str]:
    return {cell.run_id for cell in read_cells(results / "tiny/mini") if cell.state == "done"}


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


READER = {"dummy": {"weights_from": "source"}, "label": "reader"}


def test_a_cell_that_reads_another_s_weights_waits_for_it(go):
    """Two workers, and the reader first in the table: it must not start before the other ends."""
    rows = [READER, {"dummy": {}, "label": "source"}]
    code, lines, cells = go(*rows, jobs=2)
    assert code == 0
    order = [line for line in lines if line.startswith(("reader", "source"))]
    assert order.index("reader, seed 0: started") > next(
        i for i, line in enumerate(order) if line.startswith("source, seed 0: done")
    )
    assert cells["reader"].spec["config"]["weights_from"] == cells["source"].run_id


def test_a_failed_source_does_not_hold_up_its_reader(go):
    rows = [READER, {"dummy": {"behave": "die"}, "label": "source"}]
    code, _, cells = go(*rows, jobs=2)
    assert code == 1
    assert cells["source"].state == "failed" and cells["reader"].state == "done"


def test_only_a_reader_brings_its_source_along(go):
    rows = [READER, {"dummy": {}, "label": "source"}]
    _, _, cells = go(*rows, only=("reader",))
    assert set(cells) == {"reader", "source"}


def test_what_the_model_hub_may_be_asked_for_is_said_before(go):
    """Loading it can take minutes, without a sign of life."""
    _, lines, _ = go("dummy", overrides=["student.id=somebody/a-student"])
    (line,) = [line for line in lines if "model hub" in line]
    assert line.startswith("loading somebody/a-student once")
    assert lines.index(line) < lines.index("dummy, seed 0: started")
    assert not any("model hub" in line for line in go("dummy")[1])
