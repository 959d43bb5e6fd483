"""What step records say of rationales, against loops over the files."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from compact_bench.analysis import weights
from compact_bench.analysis.results import Results, read
from compact_bench.commands.publish import publish_folder
from compact_bench.records import cells
from compact_bench.report import page
from compact_bench.report.parts import formats
from compact_bench.report.tables import scores
from tests import synthetic
from tests.synthetic import Made

LABELS = ("base", "average", "frozen", "full", "oracle")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Made(scored=True, items=8, labels=LABELS)
    return synthetic.make(tmp_path_factory.mktemp("results"), made)


@pytest.fixture(scope="module")
def results(root: Path) -> Results:
    return read(root)


def joined(root: Path, label: str) -> pd.DataFrame:
    """All step records of a row with what the bank says of each rationale."""
    bank = pd.read_parquet(root / "bank.parquet")
    bank["agreement"] = [
        ((bank["question_id"] == q) & (bank["answer"] == a)).sum() - 1
        for q, a in zip(bank["question_id"], bank["answer"], strict=True)
    ]
    frames = [
        pd.read_parquet(cell.folder / "steps.parquet").assign(seed=cell.spec["seed"])
        for cell in cells.read_cells(root)
        if cell.spec["label"] == label
    ]
    frame = pd.concat(frames).merge(bank, on=["question_id", "teacher", "sample"])
    return frame.assign(shortness=-frame["rationale_tokens"], likelihood=-frame["nll"])


def pairs(frame: pd.DataFrame, column: str, truth: str) -> Iterator[float]:
    for _, group in frame.groupby(["seed", "epoch", "question_id"]):
        group = group.dropna(subset=[column])
        if truth == "wrong answer":
            good, bad = group[group["right"]], group[~group["right"]]
        else:
            good = group[group["right"] & (group["corruption"] == "")]
            bad = group[group["corruption"] == truth]
        for i, j in product(good[column], bad[column]):
            yield 1.0 if i > j else 0.5 if i == j else 0.0


@pytest.mark.parametrize("truth", ["wrong answer", "filler"])
@pytest.mark.parametrize(
    ("label", "detector", "column"),
    [("full", "weight", "weight"), ("full", "adaptability", "score_adaptability"),
     ("average", "shortness", "shortness"), ("average", "likelihood", "likelihood"),
     ("average", "agreement", "agreement")],
)  # fmt: skip
def test_aurocs_are_those_of_the_files(
    root: Path, results: Results, label: str, detector: str, column: str, truth: str
) -> None:
    frame = joined(root, label)
    for when, part in (
        ("first", frame[frame["epoch"] == 0]),
        ("later", frame[frame["epoch"] > 0]),
    ):
        expected = list(pairs(part, column, truth))
        found = weights.rationale_stats(results)[label].auroc(detector, truth, when)
        assert found is not None
        assert found.value == pytest.approx(np.mean(expected))
        assert found.pairs == len(expected)


def test_trivial_detectors_come_once_from_the_reference_row(results: Results) -> None:
    row = weights.trivial_row(results, "")
    assert row is not None and row.label == "average"
    table = scores.detection(results)
    assert table is not None
    without = [row[1].text for row in table.rows if row[0].text == "(no method)"]
    assert without == ["shortness", "likelihood", "agreement"]
    methods = {row[0].text for row in table.rows}
    assert methods == {"(no method)", "frozen", "full"}  # equal weights tell nothing


def test_the_table_says_what_sees_gold_and_what_is_chance(results: Results) -> None:
    table = scores.detection(results)
    assert table is not None
    gold = {row[1].text: row[2].text for row in table.rows}
    assert gold["adaptability"] == "yes" and gold["consensus"] == "no"
    for part in ("0.5 is chance", "Adaptability sees the gold answer", "bootstrap over questions",
                 "as read in training average"):  # fmt: skip
        assert part in table.caption.own, part
    frame = pd.read_csv(io.StringIO(formats.csv(table)))
    assert set(frame["truth"]) == {"wrong answer", "any fault", "slip", "filler"}
    chosen = frame[(frame["label"] == "full") & (frame["detector"] == "weight")]
    shown = next(r for r in table.rows if (r[0].text, r[1].text) == ("full", "weight"))
    one = chosen[(chosen["truth"] == "wrong answer") & (chosen["pass"] == "later")].iloc[0]
    place = table.columns.index("wrong answer, later")
    assert shown[place].text == f"{one['auroc']:.2f} ± {one['half_width']:.2f}"


def test_coverage_is_the_share_with_a_score(root: Path, results: Results) -> None:
    table = scores.coverage(results)
    assert table is not None
    frame = pd.read_csv(io.StringIO(formats.csv(table)))
    full = frame[frame["label"] == "full"].fillna({"teacher": "all"}).set_index("teacher")
    raw = joined(root, "full")
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


def test_without_lengths_there_is_no_yardstick_and_no_table(tmp_path: Path) -> None:
    """Earlier records lack them."""
    root = synthetic.make(tmp_path, Made(scored=True, items=4, labels=("average", "full")))
    for path in root.glob("runs/*/steps.parquet"):
        frame = pd.read_parquet(path)
        frame.drop(columns="rationale_tokens").to_parquet(path)
    results = read(root)
    assert not weights.lengths_known(results)
    assert scores.detection(results) is None and scores.coverage(results) is None
    found = weights.rationale_stats(results)["full"]
    assert found.auroc("weight", "wrong answer", "first") is not None
    assert not found.has_pairs("shortness")


@pytest.mark.parametrize("gone", ["weight", "nll", "score_consensus", "everything"])
def test_columns_may_be_missing(tmp_path: Path, gone: str) -> None:
    root = synthetic.make(tmp_path, Made(scored=True, items=4, labels=("average", "full")))
    for path in root.glob("runs/*/steps.parquet"):
        frame = pd.read_parquet(path)
        kept = [c for c in frame.columns if c == "step"] if gone == "everything" else frame.columns
        frame[[c for c in kept if c != gone]].to_parquet(path)
    results = read(root)
    found = weights.rationale_stats(results)["full"]
    assert not found.has_pairs(
        {"nll": "likelihood", "score_consensus": "consensus"}.get(gone, gone)
    )
    assert found.has_pairs("adaptability") == (gone != "everything")
    assert page.build_tables(results)[0].name == "main"


def test_a_row_that_reads_no_spoilt_rationale_gives_them_nothing(tmp_path: Path) -> None:
    conditions = ({"name": "half", "series": "s", "x": 0.5,
                   "data": {"corrupt": {"wrong_step": 0.5}}},)  # fmt: skip
    made = Made(scored=True, items=4, seeds=(0,), labels=("average", "full", "oracle"),
                conditions=conditions)  # fmt: skip
    root = synthetic.make(tmp_path, made)
    bank = pd.read_parquet(root / "bank.parquet")
    oracle = next(c for c in cells.read_cells(root) if c.spec["label"] == "oracle")
    path = oracle.folder / "steps.parquet"
    frame = pd.read_parquet(path)
    keys = ["question_id", "teacher", "sample"]
    clean = frame.merge(bank[bank["corruption"] == ""][keys], on=keys)
    share = clean.groupby(["step", "question_id"])["weight"].transform("sum")
    clean.assign(weight=clean["weight"] / share).to_parquet(path)
    found = weights.rationale_stats(read(root))
    assert found["oracle · half"].corrupted == {0: 0.0}
    assert found["average · half"].corrupted[0] == pytest.approx(1.0)
    raw = joined(root, "full")
    spoilt = raw["corruption"] == "wrong_step"
    expected = raw[spoilt]["weight"].sum() / (spoilt.sum() / 4)
    assert found["full · half"].corrupted[0] == pytest.approx(expected)


def test_only_faults_put_in_on_purpose_count_as_spoilt(results: Results, tmp_path: Path) -> None:
    assert weights.corruptions(results, results.rows[1]) == ()
    conditions = ({"name": "a", "data": {"corrupt": {"filler": 0.3}}}, {"name": "b", "data": {}})
    made = Made(scored=True, items=4, seeds=(0,), labels=("average",), conditions=conditions)
    found = read(synthetic.make(tmp_path, made))
    assert [weights.corruptions(found, row) for row in found.rows] == [("filler",), ()]


def test_a_human_rationale_neither_agrees_nor_is_judged(tmp_path: Path) -> None:
    root = synthetic.make(tmp_path, Made(scored=True, items=4, seeds=(0,), labels=("average",)))
    before = weights.rationale_stats(read(root))["average"]
    bank = pd.read_parquet(root / "bank.parquet")
    human = bank.drop_duplicates("question_id").assign(teacher="human", role="human", answer="7")
    pd.concat([bank, human]).to_parquet(root / "bank.parquet")
    after = weights.rationale_stats(read(root))["average"]
    for key, tally in before.tallies.items():
        np.testing.assert_array_equal(tally.wins, after.tallies[key].wins)


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
