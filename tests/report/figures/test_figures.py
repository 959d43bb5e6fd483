"""Figures: the same bytes every time, the same look for a row, and the numbers that they draw."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from compact_bench.analysis.results import Results, read
from compact_bench.report import figures
from compact_bench.report.figures import weights
from compact_bench.report.parts import style
from tests import synthetic
from tests.synthetic import Made


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.make(tmp_path_factory.mktemp("results"), Made(items=20, steps=12))


@pytest.fixture(scope="module")
def results(root: Path) -> Results:
    return read(root)


@pytest.fixture(scope="module")
def pictures(results: Results) -> dict[str, weights.Picture]:
    return {picture.name: picture for picture in figures.build(results)}


def test_another_process_makes_the_same_bytes(
    root: Path, pictures: dict[str, weights.Picture], tmp_path: Path
) -> None:
    code = (
        "import sys; from pathlib import Path; from compact_bench.analysis.results import read\n"
        "from compact_bench.report import figures\n"
        "pictures = figures.build(read(Path(sys.argv[1])))\n"
        "figures.write(pictures, Path(sys.argv[2]), ('svg', 'pdf', 'png'))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "TZ": "Asia/Tokyo"}
    command = [sys.executable, "-c", code, str(root), str(tmp_path)]
    subprocess.run(command, check=True, env=environment, timeout=120)
    for picture in pictures.values():
        for ending, content in picture.content.items():
            assert (tmp_path / f"{picture.name}.{ending}").read_bytes() == content, ending


def test_files_hold_no_dates_or_versions(pictures: dict[str, weights.Picture]) -> None:
    for picture in pictures.values():
        assert b"<dc:date>" not in picture.content["svg"]
        assert b"CreationDate" not in picture.content["pdf"]
        assert b"Software" not in picture.content["png"]


def test_pictures_are_of_print_size_and_not_blank(
    pictures: dict[str, weights.Picture], tmp_path: Path
) -> None:
    assert set(pictures) == {"tradeoff", "differences", "weights"}
    for path in figures.write(pictures.values(), tmp_path, ["png"]):
        if path.suffix != ".md":
            with Image.open(path) as image:
                assert min(image.size) > 350
                pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
                assert len(np.unique(pixels[::7], axis=0)) > 20
    captions = (tmp_path / "captions.md").read_text(encoding="utf-8")
    assert "profile mini" in captions
    assert captions.count("Seeds 0, 1, 2") == 3


def test_a_row_has_one_look_and_no_two_share_it(results: Results) -> None:
    looks = style.looks(results)
    assert len(set(looks.values())) == len(results.rows)
    assert looks["average"].colour == style.REFERENCE
    assert looks["base"].colour == style.UNTRAINED
    singles = [look for label, look in looks.items() if label.startswith("single_teacher")]
    assert len({look.colour for look in singles}) == 1


def test_thirty_methods_still_look_different(tmp_path: Path) -> None:
    labels = tuple(f"m{i}" for i in range(30))
    after = dict.fromkeys(labels, (0.4, 0.8, 0.6, 0.7, ""))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "AFTER", {**synthetic.AFTER, **after})
        made = Made(seeds=(0,), labels=("average", *labels), items=5, steps=1)
        results = read(synthetic.make(tmp_path, made))
    assert len(set(style.looks(results).values())) == 31


def test_the_forest_has_every_row_but_the_reference_and_none_without_intervals(
    pictures: dict[str, weights.Picture], tmp_path: Path
) -> None:
    svg = pictures["differences"].content["svg"].decode()
    drawn = {label for label in synthetic.AFTER if f"<!-- {label} -->" in svg}
    assert drawn == set(synthetic.AFTER) - {"average"}
    one = read(synthetic.make(tmp_path, Made(seeds=(0,), items=5, steps=1)))
    assert "differences" not in {picture.name for picture in figures.build(one)}


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
    from compact_bench.analysis.results import Row
    from compact_bench.records.cells import CellWriter, read_cell

    steps = [
        {"step": 0, "question_id": "a", "teacher": "x", "sample": 0, "weight": 0.2},
        {"step": 0, "question_id": "a", "teacher": "x", "sample": 1, "weight": 0.3},
        {"step": 0, "question_id": "a", "teacher": "y", "sample": 0, "weight": 0.5},
        {"step": 0, "question_id": "b", "teacher": "x", "sample": 0, "weight": 1.0},
    ]
    CellWriter(tmp_path).steps(steps)
    CellWriter(tmp_path).status("done")
    found = weights.weighted(Row("m", "m", {0: read_cell(tmp_path)})).set_index("teacher")["weight"]
    assert found.to_dict() == pytest.approx({"x": 0.75, "y": 0.25})


def test_bins_average_steps() -> None:
    frame = pd.DataFrame({"seed": 0, "teacher": "x", "step": range(90), "weight": np.arange(90.0)})
    found = weights.binned(frame)
    assert len(found) == weights.BINS
    assert found["weight"].iloc[0] == pytest.approx(1.0)
    assert found["step"].iloc[0] == pytest.approx(1.0)


def test_without_finished_cells_there_are_no_figures(tmp_path: Path) -> None:
    states = {(label, seed): ("failed", "x") for label in synthetic.AFTER for seed in (None, 0)}
    synthetic.make(tmp_path, Made(seeds=(0,), states=states))
    assert figures.build(read(tmp_path)) == []
