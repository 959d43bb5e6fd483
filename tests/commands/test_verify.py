"""`verify` on the command line: its exit codes and lines."""

from __future__ import annotations

import json

from compact_bench.records.cells import CellWriter, read_cells
from tests import synthetic
from tests.synthetic import Made


def test_exit_code_and_lines(call, refused, tmp_path):
    assert "run the suite first" in refused("verify", tmp_path / "nowhere")
    made = Made(labels=("base", "average"), seeds=(0,), items=5, steps=1)
    root = synthetic.make(tmp_path / "made", made)
    code, out, _ = call("verify", root)
    assert code == 0 and "2 readable without checksums" in out
    for cell in read_cells(root):
        writer = CellWriter(cell.folder)
        writer.status(**cell.status | {"records": writer.checksums()})
    assert "2 cells as they were recorded" in call("verify", root)[1]
    (cell.folder / "eval.parquet").unlink()
    code, out, _ = call("verify", root)
    assert code == 1 and "eval.parquet is gone" in out and out.count("\n") == 2
    code, out, _ = call("verify", root, "--json")
    assert code == 1 and json.loads(out)["same"] == 1
