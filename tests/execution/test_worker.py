"""The protocol of a worker process, line by line, with a stub in place of the training."""

from __future__ import annotations

import contextlib
import gc
import json
import queue
import subprocess
import sys
from pathlib import Path

import pytest

from compact_bench.errors import UserError
from compact_bench.execution import worker
from compact_bench.execution.plan import Options, make_plan
from compact_bench.records.cells import read_cell
from compact_bench.suite.schema import load_suite

STUBS = Path(__file__).parents[1] / "stubs"


def events_of(*requests: dict) -> list[dict]:
    """What a worker answers to some requests, given one after the other."""
    names = ["--cell", "stub_cells:cell", "--check", "stub_cells:check"]
    command = [sys.executable, "-m", "compact_bench.execution.worker", *names]
    events = []
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        for request in requests:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            for line in process.stdout:
                events.append(json.loads(line))
                if events[-1]["event"] == "end":
                    break
        process.stdin.close()
        assert process.wait(60) == 0
    return events


@pytest.fixture
def request_of(write_suite, plugins, tmp_path, monkeypatch):
    """A request for a cell of `dummy` that behaves so, and the cell's folder."""
    monkeypatch.setenv("PYTHONPATH", str(STUBS), prepend=":")

    def made(behave):
        path = write_suite(methods=["still", {"dummy": {"behave": behave}}], seeds=[0])
        options = Options(tmp_path / "results", None, (plugins,))
        plan = make_plan(load_suite(path), options)
        spec = plan.cells[1]
        return options.request(spec, plan.folder(spec)), plan.folder(spec)

    return made


def test_requests_are_answered_one_after_the_other(request_of):
    request, folder = request_of("done")
    check = {"do": "check", "spec": request["spec"]}
    events = events_of(check, request)
    assert events[0] == {"event": "end", "error": None}
    assert [event["event"] for event in events[1:]] == ["phase", "step", "end"]
    assert events[2]["loss"] == 1.5 and events[-1]["error"] is None
    assert read_cell(folder).state == "done"


def test_what_a_cell_prints_is_in_its_log_and_not_in_the_protocol(request_of):
    request, folder = request_of("done")
    events_of(request)
    log = (folder / "log.txt").read_text().splitlines()
    assert {"to stdout", "past sys.stdout", "to stderr"} <= set(log)


def test_an_error_of_a_cell_is_its_record_and_the_worker_goes_on(request_of):
    (broken, folder), (good, other) = request_of("raise"), request_of("done")
    events = events_of(broken, good)
    assert [e["error"] for e in events if e["event"] == "end"] == [None, None]
    cell = read_cell(folder)
    assert (cell.state, cell.status["reason"]) == ("failed", "ValueError: two lines")
    assert cell.spec["label"] == broken["spec"]["label"]
    assert read_cell(other).state == "done"


def test_a_student_that_cannot_be_loaded_is_the_answer(request_of):
    request, _ = request_of("done")
    student = request["spec"]["student"] | {"revision": "broken"}
    check = {"do": "check", "spec": request["spec"] | {"student": student}}
    assert events_of(check) == [{"event": "end", "error": "student.id: can't load it: no weights"}]


def test_what_is_imported_is_taken_to_stay():
    before = gc.get_freeze_count()
    try:
        with contextlib.suppress(ImportError), worker.importing():
            assert not gc.isenabled()
            raise ImportError
        assert gc.isenabled()
        assert gc.get_freeze_count() > before
    finally:
        gc.unfreeze()


def test_an_error_in_one_line():
    assert worker.one_line(UserError("a\n b")) == "a b"
    assert worker.one_line(ValueError("a\nb")) == "ValueError: a b"
    assert worker.one_line(KeyboardInterrupt()) == "KeyboardInterrupt"


def test_the_worker_waits_for_an_answer_to_a_report():
    sent = []
    requests = worker.Requests.__new__(worker.Requests)
    requests._queue = queue.Queue()
    tell = requests.with_answers(sent.append)
    assert tell({"event": "step"}) is None
    for answer in (True, False):
        requests._queue.put({"go": answer})
        assert tell({"event": "report"}) is answer
    requests._queue.put(None)  # the runner is gone
    assert tell({"event": "report"}) is False
    assert [event["event"] for event in sent] == ["step", "report", "report", "report"]
