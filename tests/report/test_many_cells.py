"""`report` and `compare` over many cells: no torch, and the same bytes whoever shares the work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import make_cells
from tests.html_page import parsed

ROOT = Path(__file__).parents[2]
SEEDS, CELLS = 6, 66  # eleven rows
WATCHED = """
import sys
from compact_bench.__main__ import main
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        assert name.split(".")[0] != "torch", "torch is imported"
sys.meta_path.insert(0, NoTorch())
main()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("many") / "gsm8k" / "mini"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(make_cells, "SEEDS", SEEDS)
        make_cells.make(root, CELLS)
    return root


def call(*arguments: object, **environment: str) -> str:
    """Run a command with torch forbidden: an import of it is an error."""
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for part in ("tables", "figures")
            for p in (folder / part).iterdir()}  # fmt: skip


def test_a_report_is_the_same_in_one_process_and_in_several(folder, tmp_path):
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    said = call("report", "suites/gsm8k.yaml", "--results", folder.parent.parent,
                PYTHONHASHSEED="1")  # fmt: skip
    assert "\ncompact" in said
    several = _files(folder)
    names = {Path(name).stem for name in several}
    assert {"main", "forgetting", "latent", "integration", "tradeoff", "latent_map"} <= names
    # The hidden states are both a figure and a table.
    assert {"figure-latent", "table-latent"} <= set(parsed(folder / "report.html").ids)
    if len(cores) < 2:
        pytest.skip("one core: there is nothing to share out")
    alone = ["taskset", "-c", str(min(cores)), sys.executable, "-c", WATCHED, "report",
             "suites/gsm8k.yaml", "--results", str(folder.parent.parent)]  # fmt: skip
    environment = os.environ | {"PYTHONHASHSEED": "2"}
    subprocess.run(alone, check=True, capture_output=True, cwd=ROOT, env=environment)
    assert _files(folder) == several


def test_compare_needs_no_torch(folder):
    said = call("compare", folder, "compact", "average")
    assert "compact is" in said and "6 seeds x 75 items" in said
