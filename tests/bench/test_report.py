"""How long `report` and `compare` take for many cells, against reading the records alone.

COMPACT_BENCH_CELLS says how many cells (200). Ratios within one process; run with `tox -e bench`.
"""

from __future__ import annotations

import os
import time

import pytest

from compact_bench.records.cells import read_cells
from compact_bench.report import comparison, page
from tests import make_cells

CELLS = int(os.environ.get("COMPACT_BENCH_CELLS", "200"))
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
