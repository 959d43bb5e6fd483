"""What step records say of rationales, against loops over the files."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from compact_bench.analysis import weights
from compact_bench.analysis.results import Results, read
from compact_bench.records import cells
from compact_bench.report import page
from tests import synthetic
from tests.from_files import joined_steps
from tests.synthetic import Made

LABELS = ("base", "average", "frozen", "full", "oracle")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Made(scored=True, items=8, labels=LABELS)
    return synthetic.make(tmp_path_factory.mktemp("results"), made)


@pytest.fixture(scope="module")
def results(root: Path) -> Results:
    return read(root)


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
    frame = joined_steps(root, label)
    for when, part in (
        ("first", frame[frame["epoch"] == 0]),
        ("later", frame[frame["epoch"] > 0]),
    ):
        expected = list(pairs(part, column, truth))
        found = weights.rationale_stats(results)[label].auroc(detector, truth, when)
        assert found is not None
        assert found.value == pytest.approx(np.mean(expected))
        assert found.pairs == len(expected)


def test_trivial_detectors_are_of_the_reference_row(results: Results) -> None:
    row = weights.trivial_row(results, "")
    assert row is not None and row.label == "average"


def test_without_lengths_there_is_no_yardstick(tmp_path: Path) -> None:
    """Earlier records lack them."""
    root = synthetic.make(tmp_path, Made(scored=True, items=4, labels=("average", "full")))
    for path in root.glob("runs/*/steps.parquet"):
        frame = pd.read_parquet(path)
        frame.drop(columns="rationale_tokens").to_parquet(path)
    results = read(root)
    assert not weights.lengths_known(results)
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
    raw = joined_steps(root, "full")
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
