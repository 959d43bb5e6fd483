"""Twin rows against a count over the samples, and which pairs are no twins."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compact_bench.analysis.results import Results, read
from compact_bench.analysis.twins import twins
from compact_bench.records.cells import read_cells
from compact_bench.report.tables import main
from tests import synthetic
from tests.synthetic import Made

LABELS = ("base", "average", "frozen", "full")


def made(folder: Path, share: float, labels=("average", "frozen")) -> Results:
    """Results in which a share of the second row's outputs are those of the first."""
    root = synthetic.make(folder, Made(items=40, seeds=(0, 1), labels=LABELS, steps=1))
    cells = {(c.spec["label"], c.spec["seed"]): c for c in read_cells(root)}
    for seed in (0, 1):
        source = cells.get((labels[0], seed)) or cells[labels[0], None]
        path = cells[labels[1], seed].folder / "samples.jsonl"
        own = [json.loads(line) for line in path.read_text().splitlines()]
        copied = round(share * len(own))
        for place, (sample, other) in enumerate(zip(own, source.samples(), strict=True)):
            assert sample["question_id"] == other["question_id"]
            if place < copied:
                sample["output"] = other["output"]
        path.write_text("".join(json.dumps(sample) + "\n" for sample in own))
    return read(root)


def test_rows_that_write_their_own_have_no_twin(tmp_path: Path) -> None:
    results = made(tmp_path, 0.0)
    assert twins(results) == [] and main.twins(results) is None


@pytest.mark.parametrize(("share", "named"), [(1.0, True), (0.975, True), (0.95, False)])
def test_more_than_95_percent_equal_outputs_make_twins(
    tmp_path: Path, share: float, named: bool
) -> None:
    found = twins(made(tmp_path, share))
    pairs = [(pair.first.label, pair.second.label) for pair in found]
    assert pairs == ([("average", "frozen")] if named else [])
    if named:
        assert found[0].share == pytest.approx(share)
        assert found[0].outputs == 2 * 4 * 40  # seeds, tasks, items


def test_a_row_without_seeds_stands_for_each(tmp_path: Path) -> None:
    """A method that trains nothing that matters writes what the student wrote before."""
    results = made(tmp_path, 1.0, ("base", "full"))
    assert [(p.first.label, p.second.label, p.share) for p in twins(results)] == [
        ("base", "full", 1.0)
    ]
    table = main.twins(results)
    assert table is not None
    assert [entry.text for entry in table.rows[0]] == ["base", "full", "100.0", "320"]
