"""Figures: the same bytes every time, the same look for a row, and the numbers that they draw."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compact_bench.analysis.results import Results, read
from compact_bench.report import page
from compact_bench.report.parts import style
from compact_bench.report.parts.style import Picture
from tests import synthetic
from tests.synthetic import Made


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.make(tmp_path_factory.mktemp("results"), Made(items=20, steps=12))


@pytest.fixture(scope="module")
def results(root: Path) -> Results:
    return read(root)


@pytest.fixture(scope="module")
def pictures(results: Results) -> dict[str, Picture]:
    return {picture.name: picture for picture in page.build_figures(results)}


def test_another_process_makes_the_same_bytes(
    root: Path, pictures: dict[str, Picture], tmp_path: Path
) -> None:
    code = (
        "import sys; from pathlib import Path; from compact_bench.analysis.results import read\n"
        "from compact_bench.report import page\nfrom compact_bench.report.parts import style\n"
        "pictures = page.build_figures(read(Path(sys.argv[1])))\n"
        "style.write(pictures, Path(sys.argv[2]), ('svg', 'pdf', 'png'))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "TZ": "Asia/Tokyo"}
    command = [sys.executable, "-c", code, str(root), str(tmp_path)]
    subprocess.run(command, check=True, env=environment, timeout=120)
    for picture in pictures.values():
        for ending in style.METADATA:
            content = picture.content[ending]
            assert (tmp_path / f"{picture.name}.{ending}").read_bytes() == content, ending


def test_files_hold_no_dates_or_versions(pictures: dict[str, Picture]) -> None:
    for picture in pictures.values():
        assert b"<dc:date>" not in picture.content["svg"]
        assert b"CreationDate" not in picture.content["pdf"]
        assert b"Software" not in picture.content["png"]


def test_pictures_are_of_print_size_and_not_blank(
    pictures: dict[str, Picture], tmp_path: Path
) -> None:
    assert set(pictures) == {"tradeoff", "differences", "weights"}
    for path in style.write(pictures.values(), tmp_path, ["png"]):
        if path.suffix != ".md":
            with Image.open(path) as image:
                assert min(image.size) > 350
                pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
                assert len(np.unique(pixels[::7], axis=0)) > 20
    captions = (tmp_path / "captions.md").read_text(encoding="utf-8")
    assert "profile mini" in captions
    assert captions.count("Seeds 0, 1, 2") == 3


def test_the_forest_has_every_row_but_the_reference_and_none_without_intervals(
    pictures: dict[str, Picture], tmp_path: Path
) -> None:
    svg = pictures["differences"].content["svg"].decode()
    drawn = {label for label in synthetic.AFTER if f">{label}</text>" in svg}
    assert drawn == set(synthetic.AFTER) - {"average"}
    one = read(synthetic.make(tmp_path, Made(seeds=(0,), items=5, steps=1)))
    assert "differences" not in {picture.name for picture in page.build_figures(one)}


def test_without_finished_cells_there_are_no_figures(tmp_path: Path) -> None:
    states = {(label, seed): ("failed", "x") for label in synthetic.AFTER for seed in (None, 0)}
    synthetic.make(tmp_path, Made(seeds=(0,), states=states))
    assert page.build_figures(read(tmp_path)) == []
