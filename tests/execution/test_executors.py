"""Executors: jobs of Slurm and of Ray give the records of the local pool, bit for bit."""

from __future__ import annotations

import importlib.util
import math
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from compact_bench.errors import UserError
from compact_bench.execution import pool as pool_module
from compact_bench.execution import run as execution
from compact_bench.execution.executors import EXECUTORS, make_executor, parse_resources
from compact_bench.execution.plan import Options
from compact_bench.execution.pool import WorkerEntry
from compact_bench.records.cells import read_cells
from compact_bench.suite.schema import load_suite
from tests.conftest import data_files_in, plugins_in, tiny_suite

STUBS = Path(__file__).parents[1] / "stubs"
ENTRY = WorkerEntry(threads=1, cell="stub_cells:tuned_cell", check="stub_cells:check")


def needs(name):
    missing = importlib.util.find_spec(name) is None
    return pytest.mark.skipif(missing, reason=f"{name} is not installed")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def run(home):
    """Run three cells; return the lines, and what is left but logs, by its path."""
    (home / "tiny.yaml").write_text(yaml.safe_dump(tiny_suite(*data_files_in(home))))
    suite, plugins = load_suite(home / "tiny.yaml"), plugins_in(home)

    def run(name, **options):
        results, lines = home / name, []
        chosen = replace(Options(results, None, (plugins,), threads=1), **options)
        assert execution.run(suite, chosen, lines.append, ENTRY) == 0, lines
        left = {p.relative_to(results): p.read_bytes() for p in results.rglob("*") if p.is_file()}
        kept = {p: b for p, b in left.items() if "logs" not in p.parts and p.name != "log.txt"}
        return lines, kept

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(STUBS), prepend=os.pathsep)
        yield run


@pytest.fixture(scope="module")
def local(run):
    """What the local pool leaves."""
    kept = run("local")[1]
    assert sum(path.name == "samples.jsonl" for path in kept) == 3
    return kept


@needs("submitit")
def test_jobs_of_submitit_leave_what_the_local_pool_leaves(run, local):
    resources = ("cluster=local", "timeout_min=5")
    assert run("submitit", executor="submitit", resources=resources, jobs=3)[1] == local


@needs("ray")
def test_tasks_of_ray_leave_what_the_local_pool_leaves(run, local):
    assert run("ray", executor="ray", jobs=2)[1] == local


@needs("ray")
def test_a_killed_node_of_ray_costs_its_cell_a_second_try(run, local, monkeypatch, home):
    """Two nodes on this machine, each with a cell when one of them is killed."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    node, slow = cluster.add_node(num_cpus=1), home / "plugins" / "slow"
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    slow.touch()  # no cell ends while it is there

    def kill():
        deadline = time.monotonic() + 120
        while len([*(home / "nodes").rglob("tries")]) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        cluster.remove_node(node, allow_graceful=False)
        slow.unlink()

    with ThreadPoolExecutor(1) as pool:
        killed = pool.submit(kill)
        lines, left = run("nodes", executor="ray", jobs=2)
        killed.result()
    cluster.shutdown()
    assert len([line for line in lines if "its machine was lost" in line]) == 1
    assert {p: b for p, b in left.items() if p.name != "tries"} == {
        p: b for p, b in local.items() if p.name != "tries"
    }


def test_a_lost_machine_costs_a_second_try(run, local, monkeypatch):
    """Of any executor: here one whose first job ends without a result."""

    class Faulty(ThreadPoolExecutor):
        jobs = 0

        def submit(self, fn, /, *args, **kwargs):
            self.jobs += 1
            return super().submit(self.fail if self.jobs == 1 else fn, *args, **kwargs)

        def fail(self, *args):
            raise ConnectionError("node 7\nis gone")

    monkeypatch.setattr(execution, "make_executor", lambda *options: Faulty(1))
    lines, left = run("faulty", executor="submitit")
    (again,) = [line for line in lines if "; again" in line]
    assert "its machine was lost: ConnectionError: node 7 is gone; again" in again
    assert left == local


def test_a_job_of_a_run_that_is_dead_does_nothing(tmp_path):
    request = {"do": "cell", "spec": {}, "lease": str(tmp_path / ".x.lease"), "token": "x"}
    end = pool_module.run_request(ENTRY, request, pool_module.NO_LIMITS, tmp_path / "log")
    assert end["taken_over"] and not list(tmp_path.iterdir())


def test_what_kills_a_worker_there_fails_its_cell(write_suite, plugins, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(STUBS), prepend=os.pathsep)
    monkeypatch.setattr(execution, "make_executor", lambda *options: ThreadPoolExecutor(1))
    suite = load_suite(write_suite(methods=["still", {"dummy": {"behave": "die"}}], seeds=[0]))
    options = Options(tmp_path / "results", None, (plugins,), executor="submitit")
    entry = replace(ENTRY, cell="stub_cells:cell")
    assert execution.run(suite, options, lambda line: None, entry) == 1
    reasons = [c.status["reason"] for c in read_cells(tmp_path / "results/tiny/mini")]
    assert sorted(reasons) == ["", "worker killed by signal 9 (often: out of memory)"]


@pytest.mark.parametrize(
    ("name", "resources", "line"),
    [
        ("submitt", [], r"no executor is called 'submitt' \(did you mean 'submitit'\?\)"),
        ("local", ["gpus=1"], "--resource gpus=1: goes with --executor submitit or ray"),
        ("ray", ["gpus"], r"--resource 'gpus': allowed: KEY=VALUE"),
        ("ray", ["a b=1"], r"--resource 'a b=1': allowed: KEY=VALUE"),
        ("ray", ["a=[1"], r"--resource 'a=\[1': the value is no YAML"),
    ],
)
def test_a_wrong_executor_or_resource_is_one_line(tmp_path, name, resources, line):
    with pytest.raises(UserError, match=line):
        make_executor(name, resources, tmp_path, 1, 1, math.inf)


@needs("submitit")
@pytest.mark.parametrize(
    ("resources", "line"),
    [(["cluster=moon"], "moon"), (["cluster=local", "slurm_moon=1"], "moon"),
     (["cluster=local", "mem_gb=much"], "mem_gb"), (["slurm_partition=gpu"], "slurm|srun")],
)  # fmt: skip
def test_what_submitit_refuses_is_one_line(tmp_path, monkeypatch, resources, line):
    monkeypatch.setenv("PATH", "")  # a machine without Slurm
    with pytest.raises(UserError, match=rf"--executor submitit: .*({line})"):
        make_executor("submitit", resources, tmp_path, 1, 1, math.inf)


@pytest.mark.parametrize("name", EXECUTORS[1:])
def test_a_library_that_is_not_installed_is_named_with_its_extra(tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=r"pip install 'compact-bench\[(slurm|ray)\]'"):
        make_executor(name, [], tmp_path, 1, 1, math.inf)


def test_resources_are_values_of_yaml():
    assert parse_resources(["num_gpus=0.5", "slurm_partition=gpu", 'resources={"tpu": 1}']) == {
        "num_gpus": 0.5, "slurm_partition": "gpu", "resources": {"tpu": 1},
    }  # fmt: skip
