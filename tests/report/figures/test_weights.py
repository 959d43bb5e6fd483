"""Weights over training are those of the step records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from compact_bench.analysis.results import Results, Row, read
from compact_bench.records.cells import CellWriter, read_cell
from compact_bench.report.figures import weights
from tests import synthetic
from tests.synthetic import Made


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.make(tmp_path_factory.mktemp("results"), Made(items=20, steps=12))


@pytest.fixture(scope="module")
def results(root: Path) -> Results:
    return read(root)


def test_only_rows_with_unequal_weights_are_drawn(results: Results) -> None:
    drawn = {row.label for row in results.rows if not weights.weighted(row).empty}
    assert drawn == {"compact_authors", "compact"}


def test_mean_weights_are_those_of_the_files(results: Results) -> None:
    row = next(row for row in results.rows if row.label == "compact")
    frame = weights.weighted(row)
    np.testing.assert_allclose(frame.groupby(["seed", "step"])["weight"].sum(), 1.0)
    raw = pd.read_parquet(row.done[0].folder / "steps.parquet")
    expected = raw[(raw["step"] == 3) & (raw["teacher"] == "terse")]["weight"].mean()
    mine = frame[(frame["seed"] == 0) & (frame["step"] == 3) & (frame["teacher"] == "terse")]
    assert mine["weight"].iloc[0] == pytest.approx(expected)


def test_an_absent_teacher_counts_as_zero_and_samples_of_one_teacher_add_up(
    tmp_path: Path,
) -> None:
    steps = [
        {"step": 0, "question_id": "a", "teacher": "x", "sample": 0, "weight": 0.2},
        {"step": 0, "question_id": "a", "teacher": "x", "sample": 1, "weight": 0.3},
        {"step": 0, "question_id": "a", "teacher": "y", "sample": 0, "weight": 0.5},
        {"step": 0, "question_id": "b", "teacher": "x", "sample": 0, "weight": 1.0},
    ]
    CellWriter(tmp_path).table("steps", steps)
    CellWriter(tmp_path).status("done")
    found = weights.weighted(Row("m", "m", {0: read_cell(tmp_path)})).set_index("teacher")["weight"]
    assert found.to_dict() == pytest.approx({"x": 0.75, "y": 0.25})


def test_bins_average_steps() -> None:
    frame = pd.DataFrame({"seed": 0, "teacher": "x", "step": range(90), "weight": np.arange(90.0)})
    found = weights.binned(frame)
    assert len(found) == weights.BINS
    assert found["weight"].iloc[0] == pytest.approx(1.0)
    assert found["step"].iloc[0] == pytest.approx(1.0)
