"""What weights and scores tell apart and how far they reach, against the step records."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from compact_bench.analysis.results import Results, read
from compact_bench.commands.publish import publish_folder
from compact_bench.records.cells import read_cells
from compact_bench.report.parts import formats
from compact_bench.report.tables import scores
from tests import synthetic
from tests.from_files import csv_frame, joined_steps
from tests.synthetic import Made

LABELS = ("base", "average", "frozen", "full", "oracle")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Made(scored=True, items=8, labels=LABELS)
    return synthetic.make(tmp_path_factory.mktemp("results"), made)


@pytest.fixture(scope="module")
def results(root: Path) -> Results:
    return read(root)


def test_trivial_detectors_come_once(results: Results) -> None:
    table = scores.detection(results)
    assert table is not None
    without = [row[1].text for row in table.rows if row[0].text == "(no method)"]
    assert without == ["shortness", "likelihood", "agreement"]
    methods = {row[0].text for row in table.rows}
    assert methods == {"(no method)", "frozen", "full"}  # equal weights tell nothing


@pytest.mark.parametrize(("uses_gold", "expected"), [(False, "no"), (True, "yes")])
def test_adaptability_sees_gold_where_its_row_does(
    results: Results, uses_gold: bool, expected: str
) -> None:
    rows = tuple(replace(row, uses_gold=uses_gold) for row in results.rows)
    table = scores.detection(replace(results, rows=rows))
    assert table is not None
    found = {row[1].text: row[2].text for row in table.rows}
    assert found["adaptability"] == expected and found["consensus"] == "no"
    assert ("Adaptability sees the gold answer" in table.caption.own) == uses_gold


def test_the_table_says_what_is_chance(results: Results) -> None:
    table = scores.detection(results)
    assert table is not None
    for part in ("0.5 is chance", "bootstrap over questions", "as read in training average"):
        assert part in table.caption.own, part
    frame = csv_frame(table)
    assert set(frame["truth"]) == {"wrong answer", "any fault", "slip", "filler"}
    chosen = frame[(frame["label"] == "full") & (frame["detector"] == "weight")]
    shown = next(r for r in table.rows if (r[0].text, r[1].text) == ("full", "weight"))
    one = chosen[(chosen["truth"] == "wrong answer") & (chosen["pass"] == "later")].iloc[0]
    place = table.columns.index("wrong answer, later")
    assert shown[place].text == f"{one['auroc']:.2f} ± {one['half_width']:.2f}"


def test_coverage_is_the_share_with_a_score(root: Path, results: Results) -> None:
    table = scores.coverage(results)
    assert table is not None
    frame = csv_frame(table)
    full = frame[frame["label"] == "full"].fillna({"teacher": "all"}).set_index("teacher")
    raw = joined_steps(root, "full")
    assert full.loc["terse", "adaptability"] == pytest.approx(0.5)
    assert full.loc["equations", "adaptability"] == 1.0
    assert full.loc["all", "adaptability"] == pytest.approx(
        raw["score_adaptability"].notna().mean()
    )
    for teacher, part in raw.groupby("teacher"):
        assert full.loc[teacher, "weight"] == pytest.approx(part["weight"].mean())
        assert full.loc[teacher, "right"] == pytest.approx(part["right"].mean())
    entropy = raw.groupby(["seed", "epoch", "question_id"])["weight"].apply(
        lambda w: -(w * np.log(w)).sum()
    )
    assert full.loc["all", "effective"] == pytest.approx(np.exp(entropy).mean())
    apart = raw.groupby(["seed", "epoch", "question_id"])["weight"].apply(
        lambda w: (w - 1 / len(w)).abs().sum() / 2
    )
    assert full.loc["all", "distance"] == pytest.approx(apart.mean())
    shown = next(row for row in table.rows if [e.text for e in row[:2]] == ["full", "all"])
    assert shown[-1].text == f"{100 * apart.mean():.1f}"


def test_weights_that_hardly_act_are_marked(root: Path, tmp_path: Path) -> None:
    """Below 2% from equal weights; a rationale that isn't read is as far as its share."""
    near, half = tmp_path / "near", tmp_path / "half"
    for folder in (near, half):
        shutil.copytree(root, folder)
        for cell in read_cells(folder):
            path = cell.folder / "steps.parquet"
            if cell.spec["label"] != "full" or not path.exists():
                continue
            frame = pd.read_parquet(path)
            groups = frame.groupby(["step", "question_id"])["weight"]
            place, size = groups.cumcount(), groups.transform("size")
            if folder is near:
                shift = np.where(place == 0, 0.015, np.where(place == 1, -0.015, 0.0))
                frame.assign(weight=1 / size + shift).to_parquet(path)
            else:
                frame[place < size / 2].assign(weight=2 / size).to_parquet(path)

    def shown(folder: Path) -> str:
        table = scores.coverage(read(folder))
        assert table is not None
        row = next(row for row in table.rows if [e.text for e in row[:2]] == ["full", "all"])
        return row[table.columns.index("from equal weights, %")].text

    assert shown(near) == "1.5 †"
    assert shown(half) == "50.0"


def test_published_records_of_others_data_give_the_same_table(tmp_path: Path) -> None:
    data = {"source": "svamp", "teachers": list(synthetic.TEACHERS)}
    made = Made(scored=True, items=4, labels=("base", "average", "full"), suite={"data": data})
    root = synthetic.make(tmp_path / "new", made)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("compact_bench.report.page.build_figures", lambda results: [])
        publish_folder(root, tmp_path / "published")
    bank = pd.read_parquet(tmp_path / "published" / "bank.parquet")
    assert "text" not in bank and "text_sha256" in bank
    mine, published = (scores.detection(read(folder)) for folder in (root, tmp_path / "published"))
    assert mine is not None and published is not None
    assert formats.csv(mine) == formats.csv(published)


def test_without_lengths_there_is_no_table(tmp_path: Path) -> None:
    """Earlier records lack them."""
    root = synthetic.make(tmp_path, Made(scored=True, items=4, labels=("average", "full")))
    for path in root.glob("runs/*/steps.parquet"):
        pd.read_parquet(path).drop(columns="rationale_tokens").to_parquet(path)
    found = read(root)
    assert scores.detection(found) is None and scores.coverage(found) is None
