"""Work shared out to forked processes, which see all that this one has read; cores and threads."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar

import threadpoolctl

from compact_bench.errors import UserError

Item = TypeVar("Item")

Result = TypeVar("Result")

SECONDS_TO_LOOK = 0.5  # between looks at whether the parent lives

FEWEST = 8  # below, starting processes takes longer than they save

_job: tuple[Callable[[Any], Any], Sequence[Any]] | None = None


def mapped(
    function: Callable[[Item], Result], items: Sequence[Item], fewest: int = FEWEST
) -> list[Result]:
    """[function(item) for item in items], the items shared out over the cores.

    The processes are forks: function and items are not copied, only the results are. What a
    function keeps in an item or elsewhere stays in its process. In this process itself where there
    is one core, few items, no fork, other threads (a lock that one holds stays held in a fork for
    ever), torch (it has threads that aren't counted), or where this is such a process. The first
    exception is raised; UserError where a process was killed.
    """
    global _job
    cores = available_cores()
    if _job is not None or not _possible() or cores < 2 or len(items) < fewest:
        return [function(item) for item in items]
    _job = function, items
    try:
        pool = _pool(min(cores, len(items)))
        if pool is None:
            return [function(item) for item in items]
        with pool:
            return list(pool.map(_of_index, range(len(items))))
    except BrokenProcessPool as error:
        raise UserError("a process of the report was killed: is there enough memory?") from error
    finally:
        _job = None


def _pool(workers: int) -> ProcessPoolExecutor | None:
    """Forks that wait for work; None where the system has no room for their semaphores."""
    try:
        context = multiprocessing.get_context("fork")
        return ProcessPoolExecutor(
            workers, mp_context=context, initializer=_begin, initargs=(os.getpid(),)
        )
    except OSError:
        return None


def _possible() -> bool:
    forks = "fork" in multiprocessing.get_all_start_methods()
    return forks and threading.active_count() == 1 and "torch" not in sys.modules


def _begin(parent: int) -> None:
    one_thread()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    # The first process alone reports Ctrl-C; the others end with what they are at.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _end_with(parent: int) -> None:
    """End this process soon after its parent: one that is killed can't say so, and its forks, which
    hold both ends of the pipe that they wait at, would wait for ever."""
    while os.getppid() == parent:
        time.sleep(SECONDS_TO_LOOK)
    os._exit(1)


def available_cores() -> int:
    """Return the cores that this process may use, which may be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, each as CUDA_VISIBLE_DEVICES names it; without torch."""
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    command = ["nvidia-smi", "--list-gpus"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return re.findall(r"^GPU \d+: .*\(UUID: ([^)]+)\)", done.stdout, re.MULTILINE)


def memory_kills(cgroup: Path = Path("/sys/fs/cgroup"), proc: Path = Path("/proc")) -> int:
    """How many processes Linux has killed for want of memory; 0 where it does not say.

    Of this process's control group (version 2) where that counts them, else of the machine.
    """
    with contextlib.suppress(OSError, ValueError):
        own = (proc / "self" / "cgroup").read_text().strip().rpartition("0::/")[2]
        for file in (cgroup / own / "memory.events", cgroup / "memory.events"):
            if file.exists():
                return _count(file, "oom_kill")
    with contextlib.suppress(OSError, ValueError):
        return _count(proc / "vmstat", "oom_kill")
    return 0


def _count(file: Path, name: str) -> int:
    """A count of a file of ``name count`` lines; 0 where it isn't there."""
    pairs = (line.split() for line in file.read_text().splitlines())
    return int({pair[0]: pair[1] for pair in pairs if len(pair) == 2}.get(name, 0))


def one_thread() -> threadpoolctl.threadpool_limits:
    """Keep linear algebra to one thread, as a context or for good.

    Of small matrices it isn't slower, threads that wait spin where another process has the core
    (forty cells' states took 7 seconds instead of half of one), and sums come out the same
    whatever the machine's number of cores.
    """
    return threadpoolctl.threadpool_limits(1)


def _of_index(index: int) -> Any:
    assert _job is not None
    function, items = _job
    return function(items[index])
