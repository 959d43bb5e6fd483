"""Items beyond single teachers: sets of solved items, made straight from the files."""

from __future__ import annotations

import io
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from compact_bench.analysis import results as report
from compact_bench.analysis import statistics
from compact_bench.analysis.results import Results
from compact_bench.records import cells
from compact_bench.report.parts import formats
from compact_bench.report.tables import complementarity
from tests import synthetic
from tests.synthetic import Made

SINGLES = [label for label in synthetic.AFTER if "[" in label]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    states = {(SINGLES[0], 1): ("failed", "x")}
    made = Made(evidence=True, items=90, steps=2, states=states)
    return synthetic.make(tmp_path_factory.mktemp("results"), made)


@pytest.fixture(scope="module")
def results(root: Path) -> Results:
    return report.read(root)


def solved(root: Path) -> dict[tuple[str, int], set[str]]:
    """(label, seed) -> in-domain questions that are right, of cells that are done."""
    return {
        (cell.spec["label"], cell.spec["seed"]): {
            line["question_id"] for line in cell.samples()
            if line["task"] == "in_domain" and line["right"]
        }
        for cell in cells.read_cells(root) if cell.state == "done"
    }  # fmt: skip


def read(results: Results) -> pd.DataFrame:
    table = complementarity.table(results)
    assert table is not None
    frame = pd.read_csv(io.StringIO(formats.csv(table)))
    return frame.set_index(["label", "outcome"])


def test_counts_are_those_of_sets(root: Path, results: Results) -> None:
    sets, found = solved(root), read(results)
    for label in ("compact", "average", "answer_sft"):
        more, missed, some, others = [], [], [], []
        for seed in (0, 1, 2):
            mine = sets[label, seed]
            singles = [sets[one, seed] for one in SINGLES if (one, seed) in sets]
            assert len(singles) == (3 if seed == 1 else 4)
            more.append(len(mine - set.union(*singles)))
            missed.append(len(set.union(*singles) - mine))
            pairs = list(combinations(singles, 2))
            some.append(np.mean([len(mine - (a | b)) for a, b in pairs]))
            rest = [sets["average", other] for other in (0, 1, 2) if other != seed]
            others.append(len(mine - set.union(*rest)))
        for outcome, values in (
            (complementarity.BEYOND, more),
            (complementarity.MISSED, missed),
            (complementarity.BEYOND_SOME, some),
            (complementarity.BEYOND_SEEDS, others),
        ):
            assert found.loc[(label, outcome), "items"] == pytest.approx(np.mean(values))
            assert found.loc[(label, outcome), "items.sd"] == pytest.approx(np.std(values, ddof=1))
            assert found.loc[(label, outcome), "k"] == 2


def test_differences_are_paired_by_seed_and_item(root: Path, results: Results) -> None:
    sets, found = solved(root), read(results)
    names = sorted({line["question_id"] for line in cells.read_cells(root)[0].samples()
                    if line["task"] == "in_domain"})  # fmt: skip
    values = np.zeros((3, 90))
    for seed in (0, 1, 2):
        single = set.union(*(sets[one, seed] for one in SINGLES if (one, seed) in sets))
        for place, name in enumerate(names):
            if name not in single:
                values[seed, place] = (name in sets["compact", seed]) - float(
                    name in sets["average", seed]
                )
    assert set(np.unique(values)) == {-1.0, 0.0, 1.0}
    expected = statistics.crossed(values)
    line = found.loc[("compact", complementarity.BEYOND)]
    assert line["difference.mean"] == pytest.approx(90 * expected.mean)
    assert line["difference.half_width"] == pytest.approx(90 * expected.half_width)
    assert line["difference.p"] == pytest.approx(expected.p)
    counts = found["items"].xs(complementarity.BEYOND, level="outcome")
    assert line["difference.mean"] == pytest.approx(counts["compact"] - counts["average"])
    assert np.isnan(found.loc[("average", complementarity.BEYOND), "difference.mean"])


def test_single_teachers_are_known_by_their_records(results: Results) -> None:
    assert {row.label for row in results.rows if complementarity.is_single(row)} == set(SINGLES)
    table = complementarity.table(results)
    assert table is not None
    labels = {row[0].text for row in table.rows}
    assert labels == set(synthetic.AFTER) - set(SINGLES) - {"base"}
    assert "(3 to 4 of them)" in table.caption.own


def test_one_seed_has_no_control_and_no_interval(tmp_path: Path) -> None:
    labels = ("base", "average", "compact", *SINGLES[:2])
    made = Made(evidence=True, items=30, steps=1, seeds=(0,), labels=labels)
    frame = read(report.read(synthetic.make(tmp_path, made)))
    assert set(frame.index.get_level_values("outcome")) == {
        complementarity.BEYOND,
        complementarity.MISSED,
    }
    assert frame["difference.half_width"].isna().all()


@pytest.mark.parametrize(
    "labels", [("base", "average", "compact", SINGLES[0]), ("base", "compact", *SINGLES)]
)
def test_fewer_than_two_singles_or_no_reference_is_no_table(
    tmp_path: Path, labels: tuple[str, ...]
) -> None:
    made = Made(evidence=True, items=8, steps=1, labels=labels)
    assert complementarity.table(report.read(synthetic.make(tmp_path, made))) is None
