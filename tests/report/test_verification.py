"""What `verify` finds in results that were damaged, and that it finds nothing in others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from compact_bench.commands.publish import publish_folder
from compact_bench.records import archive
from compact_bench.records.cells import CellWriter, read_cells
from compact_bench.report import page
from compact_bench.report.verification import verify
from tests import synthetic
from tests.conftest import draw_nothing
from tests.synthetic import Made

LABELS = ("base", "average", "compact")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Results with checksums and tables, one cell without checksums, one failed, one missing."""
    states = {("average", 1): ("failed", "x"), ("compact", 1): ("missing", "")}
    made = Made(labels=LABELS, seeds=(0, 1), items=20, steps=2, states=states)
    root = synthetic.make(tmp_path_factory.mktemp("results"), made)
    for cell in read_cells(root):
        if cell.spec["label"] != "compact":
            writer = CellWriter(cell.folder)
            writer.status(**cell.status | {"records": writer.checksums()})
    with pytest.MonkeyPatch.context() as patch:
        draw_nothing(patch)
        page.build(root)
        publish_folder(root, root / "published")
    return root


@pytest.fixture
def root(whole, tmp_path):
    """A copy that may be damaged."""
    shutil.copytree(whole, tmp_path / "copy")
    return tmp_path / "copy"


def _folder(root: Path, label: str) -> Path:
    return next(cell.folder for cell in read_cells(root) if cell.spec["label"] == label)


def test_nothing_is_wrong_with_results_as_they_were_made(root):
    found = verify(root)
    assert (found.same, found.readable, found.missing) == (3, 1, 1)
    assert found.problems == ()
    assert found.tables == len(list((root / "tables").iterdir()))


def test_published_results_are_readable_and_their_tables_match(root):
    found = verify(root / "published")
    assert (found.same, found.readable, found.missing) == (0, 4, 1)
    assert found.problems == () and found.tables == len(list(root.glob("published/tables/*.md")))


@pytest.mark.parametrize("label", ["average", "compact"])  # with checksums, and without
def test_a_damaged_record_is_named(root, label):
    path = _folder(root, label) / "steps.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    problems = verify(root).problems
    record = [problem for problem in problems if problem.startswith(f"{label}, seed 0 (")]
    assert len(record) == 1 and "steps.parquet" in record[0]


def test_a_published_record_that_was_changed_gives_other_tables(root):
    table = root / "published" / "tables" / "main.md"
    table.write_text(table.read_text().replace("average", "averaged"))
    (root / "published" / "tables" / "cost.md").unlink()
    assert set(verify(root / "published").problems) == {
        "tables/main.md is not what this version makes of the records",
        "tables/cost.md is missing: this version makes it of the records",
    }
    (root / "published" / "eval.parquet").write_bytes(b"PAR1")
    archive._open.cache_clear()  # a process of its own would read it anew
    problems = verify(root / "published").problems
    assert sum("eval.parquet" in problem for problem in problems) >= 3


def test_a_failed_cell_is_no_problem_of_the_records(root):
    status = _folder(root, "base") / "status.json"
    status.write_text(json.dumps({"state": "failed", "reason": "no memory"}))
    shutil.rmtree(root / "tables")
    assert verify(root).problems == ()
