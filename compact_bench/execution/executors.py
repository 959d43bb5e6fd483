"""Executors of cells on other machines: jobs of Slurm by submitit, tasks of a Ray cluster.

Each is a `concurrent.futures.Executor`, whose jobs are `pool.run_request`: a worker process on
whichever machine has room, which writes its records into the results folder itself. That must be
on a disk that all of them share, and this package installed on each.
"""

from __future__ import annotations

import importlib
import math
import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from compact_bench.errors import UserError, quoted, unknown

LOCAL, SUBMITIT, RAY = "local", "submitit", "ray"
EXECUTORS = (LOCAL, SUBMITIT, RAY)
EXTRAS = {SUBMITIT: "slurm", RAY: "ray"}  # by which pip installs them
MINUTES = 24 * 60  # of a job of Slurm; submitit's own default is 5
SPARE_MINUTES = 10  # of a job beyond --cell-minutes: to load the student, and to record the end


def make_executor(
    name: str, resources: Sequence[str], folder: Path, jobs: int, threads: int, cell_minutes: float
) -> Executor | None:
    """The executor of this name for so many jobs at a time; None for worker processes here.

    resources: KEY=VALUE as the executor's own library names them; a job has `threads` cores unless
    they say otherwise. folder: of the files in which submitit passes jobs on. Raises UserError
    where the library is missing, or refuses a resource, or finds no cluster.
    """
    if name not in EXECUTORS:
        raise unknown("--executor: no executor is called", name, EXECUTORS)
    values = parse_resources(resources)
    if name == LOCAL:
        if values:
            raise UserError(f"--resource {resources[0]}: goes with --executor submitit or ray")
        return None
    try:
        importlib.import_module(name)
    except ImportError as error:
        install = f"pip install 'compact-bench[{EXTRAS[name]}]'"
        raise UserError(f"--executor {name}: {error}; {install}") from error
    try:
        if name == RAY:
            return RayExecutor({"num_cpus": threads, **values})
        limit = MINUTES if math.isinf(cell_minutes) else math.ceil(cell_minutes) + SPARE_MINUTES
        defaults = {"name": "compact_bench", "cpus_per_task": threads, "timeout_min": limit}
        return SubmititExecutor(folder, jobs, defaults | values)
    except Exception as error:  # of types without number: no cluster, an unknown resource
        reason = " ".join(str(error).split())
        raise UserError(f"--executor {name}: {reason or type(error).__name__}") from error


def parse_resources(resources: Sequence[str]) -> dict[str, Any]:
    """``["gpus_per_node=1"]`` as values of YAML by name; UserError for what is no KEY=VALUE."""
    values = {}
    for text in resources:
        key, equals, value = text.partition("=")
        if not (equals and re.fullmatch(r"[A-Za-z_]\w*", key)):
            raise UserError(f"--resource {quoted(text)}: allowed: KEY=VALUE, as gpus_per_node=1")
        try:
            values[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UserError(f"--resource {quoted(text)}: the value is no YAML") from error
    return values


class SubmititExecutor(ThreadPoolExecutor):
    """Submits jobs by submitit; each of its threads waits for one.

    parameters: those of submitit's `update_parameters`, and `cluster`: slurm (default), or local
    and debug, which run jobs on this machine to try things out.
    """

    def __init__(self, folder: Path, jobs: int, parameters: Mapping[str, Any]) -> None:
        import submitit

        super().__init__(jobs)
        own = {"cluster": "slurm", **parameters}
        self._submitter = submitit.AutoExecutor(folder, cluster=own.pop("cluster"))
        self._submitter.update_parameters(**own)
        self._jobs: dict[str, Any] = {}  # that have not ended, by their number
        self._lock = threading.Lock()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Submit a job; its future has the function's result, or how the job failed."""
        return super().submit(self._run, fn, args, kwargs)

    def _run(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with self._lock:
            job = self._submitter.submit(fn, *args, **kwargs)
            self._jobs[job.job_id] = job
        try:
            return job.result()
        finally:
            self._jobs.pop(job.job_id, None)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End; with cancel_futures the jobs that wait or run are cancelled."""
        if cancel_futures:
            for job in list(self._jobs.values()):
                job.cancel()
        super().shutdown(wait, cancel_futures=cancel_futures)


class RayExecutor(Executor):
    """Tasks of the Ray cluster that RAY_ADDRESS names or that runs here, else of one begun here.

    options: those of `ray.remote`.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to anybody
        import ray

        ray.init(log_to_driver=False, logging_level="ERROR", ignore_reinit_error=True)
        # A task that is lost is the pool's to try again, which knows what the first try left.
        self._task = ray.remote(**{"max_retries": 0, **options})(_call)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Begin a task; its future has the function's result, or how the task failed."""
        return self._task.remote(fn, args, kwargs).future()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the cluster, which ends the tasks that still run."""
        import ray

        ray.shutdown()


def _call(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return fn(*args, **kwargs)
