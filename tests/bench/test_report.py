"""How long `report`, `compare`, `plan` and a run of two jobs take, as ratios within one process.

Run with `tox -e bench`. COMPACT_BENCH_CELLS says how many cells are reported (200) and
COMPACT_BENCH_PLANNED how many are planned (10,000). Growth is measured in processor seconds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from compact_bench.commands.run import run_suite
from compact_bench.execution.plan import Options, make_plan
from compact_bench.execution.pool import WorkerEntry
from compact_bench.records.cells import read_cells
from compact_bench.report import comparison, page
from compact_bench.suite.schema import load_suite
from compact_bench.utils.processes import available_cores
from tests import make_cells

SUITES = Path(__file__).parents[2] / "suites"
CELLS = int(os.environ.get("COMPACT_BENCH_CELLS", "200"))
PLANNED = int(os.environ.get("COMPACT_BENCH_PLANNED", "10000"))
FOURFOLD = 5  # times as long that four times as many cells may take: quadratic growth takes 16
ROWS = "answer_sft", "human_sft"  # of the first rows: few cells are those of few rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_cells.make(tmp_path_factory.mktemp("many") / "gsm8k" / "mini", CELLS)


def _read_everything(folder) -> None:
    for cell in read_cells(folder):
        cell.item_table(), cell.eval(), cell.frame("curve"), cell.steps(), cell.frame("latent")


@pytest.mark.parametrize("name", ["report", "compare"])
def test_against_reading_the_records(folder, benchmark, name):
    calls = {
        "report": lambda: page.build(folder),
        "compare": lambda: comparison.compare(folder, *ROWS),
    }
    began = time.perf_counter()
    _read_everything(folder)
    reading = time.perf_counter() - began
    benchmark.pedantic(calls[name], rounds=1)
    seconds = benchmark.stats.stats.median
    benchmark.extra_info["over_reading"] = round(seconds / reading, 2)
    print(f"\n{name} of {CELLS} cells: {seconds:.1f} s, {seconds / reading:.2f} x reading them")


def _seconds(call: Callable[[], object]) -> float:
    """Processor seconds of a call, with those of its child processes."""
    before = os.times()
    call()
    return sum(now - then for now, then in zip(os.times()[:4], before[:4], strict=True))


def _growth(benchmark, name: str, few: Callable[[], object], many: Callable[[], object]) -> float:
    """How many times as long `many` takes as `few`, which is called once before."""
    few()
    short, long = _seconds(few), _seconds(lambda: benchmark.pedantic(many, rounds=1))
    benchmark.extra_info["fourfold"] = round(long / short, 2)
    print(f"\n{name}: {long:.1f} s, {long / short:.2f} x that of a quarter of the cells")
    return long / short


def test_a_report_does_not_grow_faster_than_its_cells(folder, tmp_path, benchmark):
    quarter = make_cells.make(tmp_path / "gsm8k" / "mini", CELLS // 4)
    growth = _growth(
        benchmark,
        f"report of {CELLS} cells",
        lambda: page.build(quarter),
        lambda: page.build(folder),
    )
    assert growth < FOURFOLD


def test_a_plan_does_not_grow_faster_than_its_cells(tmp_path, benchmark):
    base = load_suite(SUITES / "baselines.yaml", "mini")
    options = Options(tmp_path)
    labels = {spec.label for spec in make_plan(base, options).cells if spec.seed is not None}

    def planned(cells: int) -> Callable[[], object]:
        seeds = list(range(cells // len(labels)))
        suite = load_suite(SUITES / "baselines.yaml", "mini", options={"seeds": seeds})
        return lambda: make_plan(suite, options).summary()

    few, many = planned(PLANNED // 4), planned(PLANNED)
    assert _growth(benchmark, f"plan of {PLANNED} cells", few, many) < FOURFOLD


@pytest.mark.skipif(available_cores() < 2, reason="one core")
def test_two_jobs_against_one(tmp_path, benchmark):
    """Of one thread each; with the start of the workers, which two jobs do side by side."""
    seeds = {"seeds": list(range(4)), "limit": 60}
    changes = ["selection=null", "evidence=null"]
    suite = load_suite(SUITES / "gsm8k.yaml", "mini", changes, seeds)
    entry = WorkerEntry(threads=1)

    def run(jobs: int) -> float:
        options = Options(tmp_path / str(jobs), only=("average",), jobs=jobs)
        began = time.perf_counter()
        assert run_suite(suite, options, lambda line: None, entry) == 0
        return time.perf_counter() - began

    one = run(1)
    two = benchmark.pedantic(run, (2,), rounds=1)
    benchmark.extra_info["jobs_2_times_faster"] = round(one / two, 2)
    print(f"\ntwo jobs: {one / two:.2f} times as fast as one, {one:.0f} s")
    assert one / two > 1
