"""Leases: one owner at a time, whoever died is known by process, start or silence."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace

import pytest

from compact_bench.errors import UserError
from compact_bench.utils import leases as module
from compact_bench.utils.leases import (
    SILENCE,
    UNWRITTEN,
    LeaseOwner,
    Leases,
    TakenOver,
    lent,
    owner_here,
    read_owner,
)

LINUX = pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="asks Linux")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs" / ".cell.lease"


def write(path, owner: LeaseOwner) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(asdict(owner)))


def test_one_has_it_until_it_gives_it_back(path):
    with Leases() as one, Leases() as other:
        assert one.take(path) and one.take(path)
        assert not other.take(path)
        other.release(path)  # which isn't its own
        assert not other.take(path)
        one.release(path)
        assert other.take(path)
    assert not list(path.parent.iterdir())


@LINUX
def test_a_killed_process_s_is_free_at_once(path):
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from compact_bench.utils.leases import Leases\n"
        "print(Leases().take(Path(sys.argv[1])), flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process, Leases() as mine:
        assert process.stdout is not None and process.stdout.readline() == "True\n"
        assert not mine.take(path)
        mine.tidy(path.parent)
        assert read_owner(path) is not None
        process.send_signal(signal.SIGKILL)
        # Not waited for: even a zombie is dead.
        deadline = time.monotonic() + 30
        while not mine.take(path):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        owner = read_owner(path)
        assert owner is not None and owner.pid == os.getpid()


@LINUX
def test_a_process_of_the_same_number_is_another_one(path):
    write(path, replace(owner_here("x"), started="1"))
    with Leases() as mine:
        assert mine.take(path)


def test_one_of_another_machine_is_free_after_a_silence_of_this_clock(path):
    now = 1000.0
    elsewhere = LeaseOwner("elsewhere/0", os.getpid(), "1", "x")
    write(path, elsewhere)
    with Leases(lambda: now) as mine:
        assert not mine.take(path)
        now += SILENCE - 1
        assert not mine.take(path)
        os.utime(path, (5, 5))  # a beat, whatever its clock shows
        now += 2
        assert not mine.take(path)
        now += SILENCE + 1
        assert mine.take(path)


def test_one_that_was_never_written_is_free_soon(path):
    now = 0.0
    path.parent.mkdir()
    path.touch()
    with Leases(lambda: now) as mine:
        assert not mine.take(path)
        now = UNWRITTEN + 1
        assert mine.take(path)


@LINUX
def test_of_many_one_takes_it_over(path):
    write(path, replace(owner_here("x"), started="1"))
    barrier, every = threading.Barrier(4), [Leases() for _ in range(4)]
    taken = []

    def take(own):
        barrier.wait()
        taken.append(own.take(path))

    threads = [threading.Thread(target=take, args=(own,)) for own in every]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == [False, False, False, True]
    for own in every:
        own.close()
    assert not list(path.parent.iterdir())


def test_a_held_one_beats(path, monkeypatch):
    monkeypatch.setattr(module, "BEAT", 0.02)
    with Leases() as mine:
        assert mine.take(path)
        os.utime(path, (5, 5))
        deadline = time.monotonic() + 30
        while path.stat().st_mtime == 5:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_one_is_lent_to_who_knows_its_token(path):
    with Leases() as mine:
        assert mine.take(path)
        token = mine.token(path)
        owner = replace(owner_here(token), host="elsewhere/0")
        write(path, owner)
        with lent(path, token):
            assert read_owner(path) == owner_here(token)
        assert read_owner(path) == owner
        with pytest.raises(TakenOver), lent(path, "another"):
            pytest.fail("lent to a stranger")
        mine.release(path)
        with pytest.raises(TakenOver), lent(path, token):
            pytest.fail("lent though it is gone")


def test_one_taken_over_is_not_given_back(path):
    with Leases() as mine:
        assert mine.take(path)
        other = LeaseOwner("elsewhere/0", 1, "1", "x")
        write(path, other)
    assert read_owner(path) == other


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with Leases() as mine, pytest.raises(UserError, match=r"cannot write .*\.lease"):
        mine.take(tmp_path / "file" / ".cell.lease")
