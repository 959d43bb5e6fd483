"""Work that is shared out to forks: the same as in one process, errors and order included."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from functools import partial
from types import ModuleType

import pytest

from compact_bench.errors import UserError
from compact_bench.utils import processes

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setattr(processes, "available_cores", lambda: 2)
    # pytest's plugins may have threads of their own, which would keep the work in this process.
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    monkeypatch.delitem(sys.modules, "torch", raising=False)


def test_found_in_order_in_other_processes(two_cores):
    seen = processes.mapped(lambda number: (number**2, os.getpid()), range(40))
    assert [square for square, _ in seen] == [number**2 for number in range(40)]
    assert os.getpid() not in {pid for _, pid in seen}


def test_what_is_read_need_not_be_copied(two_cores):
    """A lock can't be pickled; forks see it all the same."""
    lock = threading.Lock()
    assert processes.mapped(lambda number: lock.locked() or number, range(9)) == list(range(9))


def test_an_error_comes_out_as_it_is(two_cores):
    def refuse(number):
        if number == 5:
            raise UserError("row 5 can't be read")
        return number

    with pytest.raises(UserError, match="row 5 can't be read"):
        processes.mapped(refuse, range(20))
    assert processes.mapped(str, range(9)) == [
        str(number) for number in range(9)
    ]  # goes on after it


@pytest.mark.parametrize("why", ["one core", "few items", "threads", "torch"])
def test_in_this_process_where_forks_would_not_do(two_cores, monkeypatch, why):
    if why == "one core":
        monkeypatch.setattr(processes, "available_cores", lambda: 1)
    if why == "threads":
        monkeypatch.setattr(threading, "active_count", lambda: 2)
    if why == "torch":
        monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))
    items = range(2 if why == "few items" else 20)
    assert set(processes.mapped(lambda number: os.getpid(), items)) == {os.getpid()}


def test_a_killed_process_is_one_line(two_cores):
    with pytest.raises(UserError, match="was killed"):
        processes.mapped(lambda number: os.kill(os.getpid(), signal.SIGKILL), range(9))


def test_in_one_process_where_there_is_no_room_for_semaphores(two_cores, monkeypatch):
    def full(*arguments, **named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(processes, "ProcessPoolExecutor", full)
    assert set(processes.mapped(lambda number: os.getpid(), range(20))) == {os.getpid()}
    assert processes.mapped(str, range(9)) == [str(number) for number in range(9)]


def test_kills_for_want_of_memory_are_those_of_the_control_group(tmp_path):
    own, proc = tmp_path / "cgroup" / "user" / "job", tmp_path / "proc"
    own.mkdir(parents=True)
    (proc / "self").mkdir(parents=True)
    count = partial(processes.memory_kills, tmp_path / "cgroup", proc)
    assert count() == 0  # not Linux
    (proc / "vmstat").write_text("nr_free_pages 77\noom_kill 5\n")
    assert count() == 5
    (proc / "self" / "cgroup").write_text("9:cpu:/other\n0::/user/job\n")
    assert count() == 5
    (own / "memory.events").write_text("low 0\noom 4\noom_kill 2\noom_group_kill 0\n")
    assert count() == 2
    (own / "memory.events").write_text("oom_kill many\n")
    assert count() == 5


ABANDONED = """
import os, sys, time
from compact_bench.utils import processes

processes.available_cores = lambda: 2

def work(number):
    os.write(1, f"{os.getpid()}\\n".encode())  # at once: two forks write here
    time.sleep(1 if number < 2 else 300)

processes.mapped(work, range(9))
"""


def test_forks_of_a_killed_process_end(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ABANDONED], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    forks = {int(process.stdout.readline()) for _ in range(2)}
    process.kill()
    process.wait()
    # Its pipe ends when the last of them does.
    process.stdout.read()
    assert process.pid not in forks
    process.stdout.close()


def test_ctrl_c_is_said_by_one_process(two_cores):
    def interrupted(number):
        os.kill(os.getpid(), signal.SIGINT)
        return number

    assert processes.mapped(interrupted, range(9)) == list(range(9))


def test_a_fork_does_not_fork_again(two_cores):
    def pids_of(number):
        return {os.getpid(), *processes.mapped(lambda other: os.getpid(), range(9))}

    pids = processes.mapped(pids_of, range(9))
    assert all(len(one) == 1 for one in pids)


def test_gpus_are_those_that_this_process_may_use(tmp_path, monkeypatch):
    fake = tmp_path / "nvidia-smi"
    fake.write_text(
        "#!/bin/sh\n"
        "echo 'GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-aaaa-1)'\n"
        "echo '  MIG 1g.10gb     Device  0: (UUID: MIG-cccc)'\n"
        "echo 'GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-bbbb-2)'\n"
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert processes.visible_gpus() == ["GPU-aaaa-1", "GPU-bbbb-2"]
    fake.write_text("#!/bin/sh\nexit 9\n")  # as without a driver
    assert processes.visible_gpus() == []
    fake.unlink()
    assert processes.visible_gpus() == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 5")
    assert processes.visible_gpus() == ["3", "5"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert processes.visible_gpus() == []
