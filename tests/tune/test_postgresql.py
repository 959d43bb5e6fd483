"""Two processes share a study in a PostgreSQL server of the test's own; one is killed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from compact_bench.tune.optuna_study import RETRY, WORKER, open_storage
from tests.tune.conftest import KEYS, STUBS

TRIALS = 12
SECONDS = 120.0
FOUND = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
HERE = shutil.which("initdb")
INITDB = Path(HERE) if HERE else FOUND[-1] if FOUND else None


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def server() -> Iterator[str]:
    """The URL of an empty database on the loopback address, with a password."""
    if INITDB is None:
        if os.environ.get("COMPACT_REQUIRE_POSTGRESQL"):
            pytest.fail("there is no PostgreSQL server, and COMPACT_REQUIRE_POSTGRESQL asks for it")
        pytest.skip("needs a PostgreSQL server (Debian: apt-get install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))  # a short path, for its socket
    user = {}
    if os.geteuid() == 0:  # the server refuses to run as root
        shutil.chown(folder, "postgres", "postgres")
        user = {"user": "postgres", "group": "postgres"}
    secret = folder / "secret"
    secret.write_text("a secret\n")
    secret.chmod(0o644)
    port = _free_port()
    options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder} -c fsync=off"

    def call(program: str, *arguments: str) -> None:
        command = [str(INITDB.with_name(program)), "-D", str(folder / "data"), *arguments]
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, **user)

    try:
        call("initdb", "-U", "me", "-A", "scram-sha-256", f"--pwfile={secret}", "-N")
        call("pg_ctl", "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield f"postgresql+psycopg://me:a%20secret@127.0.0.1:{port}/postgres"
        finally:
            call("pg_ctl", "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, f"waited {SECONDS:.0f} s in vain: {what}"
        time.sleep(0.1)


def test_two_processes_share_a_study_and_one_is_killed(server, write_suite, options, folder):
    path = write_suite(**KEYS | {"tune": {"trials": TRIALS, "pruner": "none"}})
    (plugins,) = options.plugins
    command = [sys.executable, str(STUBS / "tune_process.py"), str(path), str(options.results),
               str(plugins), server, "knobs"]  # fmt: skip
    slow = plugins / "slow"
    slow.touch()  # trials don't end until it is gone
    logs = [plugins / name for name in ("first.log", "second.log")]
    processes = []
    try:
        for log in logs:
            with log.open("w") as file:
                processes.append(subprocess.Popen(command, stdout=file, stderr=file))
        runs = folder / "runs"  # a trial whose cell has begun has its whole draw
        _until(lambda: len([*runs.glob("*/tries")]) == 2, "both processes train a cell")
        processes[0].kill()
        processes[0].wait()
        slow.unlink()
        assert processes[1].wait(SECONDS) == 0, logs[1].read_text()
    finally:
        for process in processes:
            process.kill()
            process.wait()
    storage = open_storage(server, folder)
    study = optuna.load_study(study_name="tiny/mini/knobs", storage=storage)
    states = [trial.state for trial in study.trials]
    assert states.count(TrialState.COMPLETE) == TRIALS
    assert set(states) == {TrialState.COMPLETE, TrialState.FAIL}
    complete = study.get_trials(states=[TrialState.COMPLETE])
    drawn = [tuple(sorted(trial.params.items())) for trial in complete]
    assert len(set(drawn)) == TRIALS  # none twice
    (failed,) = study.get_trials(states=[TrialState.FAIL])
    (retried,) = [t for t in complete if t.user_attrs.get(RETRY) == failed.number]
    assert retried.params == failed.params
    workers = {trial.user_attrs[WORKER] for trial in study.trials}
    assert len(workers) == 2
    assert "a secret" not in "".join(log.read_text() for log in logs)
