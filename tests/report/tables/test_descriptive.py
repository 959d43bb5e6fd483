"""Numbers beside the test: of the files, and called descriptive."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats as reference

from compact_bench.analysis.results import Results, read
from compact_bench.report.tables import descriptive
from tests import synthetic
from tests.from_files import csv_frame, per_item
from tests.synthetic import Made

LABELS = ("base", "answer_sft", "single_teacher[terse]", "average", "compact")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Made(labels=LABELS, items=150, steps=3)
    return synthetic.make(tmp_path_factory.mktemp("results"), made)


@pytest.fixture(scope="module")
def results(root: Path) -> Results:
    return read(root)


def test_the_descriptive_table_says_so_and_is_of_the_files(root: Path, results: Results) -> None:
    table = descriptive.table(results)
    assert table is not None
    assert table.caption.own.startswith("Descriptive: none of these is the test")
    numbers = csv_frame(table).set_index(["label", "task"])
    values = per_item(root, "compact", "mini_facts") - per_item(root, "average", "mini_facts")
    line = numbers.loc[("compact", "mini_facts")]
    pairs = int((values != 0).sum())
    p = reference.binomtest(int((values > 0).sum()), pairs).pvalue
    assert line["mcnemar_p"] == pytest.approx(p)
    assert line["items_low"] < values.mean() < line["items_high"]
    runs = np.concatenate([per_item(root, "compact", t).mean(axis=1) for t in synthetic.TASKS[1:]])
    assert line["iqm_of_role"] == pytest.approx(reference.trim_mean(runs, 0.25))
    wins = [
        reference.mannwhitneyu(
            per_item(root, "compact", t).mean(axis=1), per_item(root, "average", t).mean(axis=1)
        ).statistic / 9
        for t in synthetic.TASKS[1:]
    ]  # fmt: skip
    assert line["better_of_role"] == pytest.approx(np.mean(wins))
    assert np.isnan(numbers.loc[("average", "in_domain"), "mcnemar_p"])
    assert np.isnan(numbers.loc[("average", "in_domain"), "better_of_role"])
