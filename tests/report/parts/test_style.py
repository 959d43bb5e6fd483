"""No two rows of a suite look alike, and a row looks the same beside other rows."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compact_bench.analysis.results import Results, Row, read
from compact_bench.methods import registry
from compact_bench.report import page
from compact_bench.report.parts import style
from compact_bench.report.parts.style import Picture
from compact_bench.suite.matrix import rows
from compact_bench.suite.schema import load_suite, profiles
from tests import synthetic
from tests.synthetic import Made

SUITES = Path(__file__).parents[3] / "suites"
PROFILES = [(path, name) for path in sorted(SUITES.glob("*.yaml")) for name in profiles(path)]
PUBLISHED = sorted(path.parent for path in SUITES.parent.glob("results/published/*/*/suite.json"))
TEACHERS = ("equations", "sentences", "reordered", "labelled")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.make(tmp_path_factory.mktemp("results"), Made(items=20, steps=12))


@pytest.fixture(scope="module")
def results(root: Path) -> Results:
    return read(root)


def test_a_row_has_one_look_and_no_two_share_it(results: Results) -> None:
    looks = style.looks(results.rows, "average")
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
    assert len(set(style.looks(results.rows, "average").values())) == 31


@pytest.mark.parametrize(("path", "profile"), PROFILES, ids=[f"{p.stem}-{n}" for p, n in PROFILES])
def test_no_two_rows_of_a_suite_look_alike(path: Path, profile: str) -> None:
    suite = load_suite(path, profile)
    planned = rows(suite, registry.load(), TEACHERS)
    every = [Row(row.label, row.method.name, {}, name=row.label) for row in planned]
    looks = style.looks(every, suite.compare_to or "")
    assert len(set(looks.values())) == len(every)
    # Half of them stand elsewhere: there the most look as they do here. Not more than that: of 77
    # names four in ten want one of the 84 looks that another has.
    fewer = style.looks(every[::2], suite.compare_to or "")
    same = sum(looks[label] == look for label, look in fewer.items())
    assert same > len(fewer) / 2


def test_ninety_rows_still_look_different() -> None:
    rows = [Row(f"m{i}", f"m{i}", {}, name=f"m{i}") for i in range(90)]
    assert len(set(style.looks(rows, "").values())) == 90


def test_a_row_looks_the_same_under_every_condition() -> None:
    every = [Row(f"m · {name}", "m", {}, condition=name, name="m") for name in ("a", "b")]
    assert len(set(style.looks(every, "").values())) == 1


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.parent.name)
def test_what_is_drawn_of_a_published_suite_can_be_told_apart(folder: Path) -> None:
    results = read(folder)
    every = style.shown_looks(results)
    names = {row.name: every[row.label] for row in results.rows}
    own = [look for look in names.values() if look != style.OTHER]
    assert len(set(own)) == len(own)
    assert names[str(results.suite["compare_to"])] == style.Look(style.REFERENCE, "*")
    if len(names) <= style.MOST_COLOURED:
        assert style.OTHER not in every.values()


def test_of_many_rows_the_front_and_the_reference_are_in_colour(tmp_path: Path) -> None:
    # Accuracy up from row to row, and what is kept down, but for the last, which is worst in both.
    many = {f"m{i}": (0.3 + 0.02 * i, 0.9 - 0.02 * i, 0.8, 0.9, "") for i in range(16)}
    many["m15"] = (0.2, 0.1, 0.1, 0.1, "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "AFTER", {**synthetic.AFTER, **many})
        made = Made(seeds=(0,), labels=("base", "average", *many), items=200, steps=1)
        results = read(synthetic.make(tmp_path, made))
    task, old = results.headlines("reasoning")[0], results.headlines("forgetting")
    points = {
        row.name: (row.summary(task).mean, np.mean([results.retention(row, m)[0] for m in old]))
        for row in results.rows
        if row.trained
    }
    front = {
        name
        for name, one in points.items()
        if not any(all(np.array(other) >= one) and other != one for other in points.values())
    }
    looks = style.shown_looks(results)
    coloured = {label for label, look in looks.items() if look != style.OTHER}
    assert coloured == front | {"average", "base"}
    assert "m15" not in front and len(front) < len(points)
    explained = style.in_legend(looks)
    assert explained[f"{len(looks) - len(coloured)} other rows"] == style.OTHER
    assert len(explained) == len(coloured) + 1


def test_parts_of_a_row_are_named_in_the_drawing_and_have_no_id(
    pictures: dict[str, Picture], results: Results
) -> None:
    for name in ("tradeoff", "differences"):
        svg = pictures[name].content["svg"].decode()
        named = set(re.findall(r'data-row="([^"]*)"', svg))
        assert {row.label for row in results.rows if row.trained} - {"average"} <= named
        assert named <= {row.label for row in results.rows}
        ids = re.findall(r' id="([^"]*)"', svg)
        assert len(set(ids)) == len(ids)


@pytest.fixture(scope="module")
def pictures(results: Results) -> dict[str, Picture]:
    return {picture.name: picture for picture in page.build_figures(results)}


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
