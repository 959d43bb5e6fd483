"""The ladder of nulls and conditions, run through the command line with the nano student."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from compact_bench.__main__ import main
from compact_bench.records.cells import Cell, read_cells
from compact_bench.records.suite_record import read_suite_record
from tests.conftest import draw_nothing, one_thread_a_cell

SUITES = Path(__file__).parents[2] / "suites"
# What is read here is the training; other tests evaluate. One worker, since a second takes longer
# to start than to share so few questions saves.
QUICK = ("--limit", "8", "--seeds", "1", "--jobs", "1", "--set", "evaluation.marginal_samples=0",
         "--set", "evaluation.tasks=[{task: in_domain, role: reasoning}]")  # fmt: skip
KEYS = ["step", "question_id", "teacher", "sample"]


def run(results: Path, suite: str, *options: str) -> dict[tuple[str, str], Cell]:
    """Run a suite with few questions; its cells by label and condition."""
    arguments = ["run", str(SUITES / f"{suite}.yaml"), "--results", str(results), *QUICK, *options]
    with pytest.MonkeyPatch.context() as patch:
        draw_nothing(patch)
        one_thread_a_cell(patch)
        with pytest.raises(SystemExit) as caught:
            main(arguments)
    assert caught.value.code == 0
    folder = results / suite / "mini"
    cells = {cell.run_id: cell for cell in read_cells(folder)}
    return {
        (planned["label"], planned.get("condition", "")): cells[planned["run_id"]]
        for planned in read_suite_record(folder).cells
        if planned["run_id"] in cells
    }


@pytest.fixture(scope="module")
def cells(tmp_path_factory) -> dict[str, Cell]:
    """The ladder's cells by label."""
    found = run(tmp_path_factory.mktemp("ladder"), "ladder")
    assert {cell.state for cell in found.values()} == {"done"}
    return {label: cell for (label, _), cell in found.items()}


@pytest.fixture(scope="module")
def ladder(cells) -> dict[str, pd.DataFrame]:
    """The recorded steps of each row."""
    return {label: cell.steps() for label, cell in cells.items() if label != "base"}


def weights(frame: pd.DataFrame) -> pd.Series:
    return frame.set_index(KEYS)["weight"].sort_index()


def test_static_weights_are_the_mean_of_each_teacher(ladder):
    means = ladder["compact"].groupby("teacher")["weight"].mean()
    found = ladder["compact_static"]
    wanted = found["teacher"].map(means / means.sum())
    assert np.allclose(found["weight"], wanted, atol=1e-6)


def test_permuted_weights_are_those_of_another_question_of_the_epoch(ladder):
    tables = []
    for label in ("compact", "compact_permuted"):
        wide = ladder[label].pivot_table(
            index=["epoch", "question_id"], columns="teacher", values="weight"
        )
        tables.append(wide.round(6))
    mine, moved = tables
    assert not np.allclose(mine, moved)
    for epoch in (0, 1, 2):
        rows = [sorted(map(tuple, table.loc[epoch].to_numpy())) for table in (mine, moved)]
        assert rows[0] == rows[1]


def test_entropy_weights_are_the_question_s_own_in_another_order(ladder):
    mine, other = (ladder[label].groupby(["step", "question_id"])["weight"] for label in
                   ("compact", "compact_entropy"))  # fmt: skip
    ordered = [g.apply(lambda w: tuple(np.round(sorted(w), 6))) for g in (mine, other)]
    assert ordered[0].equals(ordered[1])
    assert not np.allclose(weights(ladder["compact"]), weights(ladder["compact_entropy"]))


def test_frozen_weights_are_the_same_in_every_epoch_and_follow_the_question(ladder):
    table = ladder["compact_frozen"].pivot_table(
        index=["question_id", "teacher"], columns="epoch", values="weight"
    )
    assert np.allclose(table[0], table[1]) and np.allclose(table[0], table[2])
    assert ladder["compact_frozen"].groupby("teacher")["weight"].std().max() > 1e-3


def test_filters_read_only_what_is_right_or_clean(ladder):
    every = set(map(tuple, ladder["average"][["question_id", "teacher"]].to_numpy()))
    for label in ("gold_filter", "oracle"):
        read = set(map(tuple, ladder[label][["question_id", "teacher"]].to_numpy()))
        assert read < every
    gold, oracle = (set(map(tuple, ladder[n][["question_id", "teacher"]].to_numpy())) for n in
                    ("gold_filter", "oracle"))  # fmt: skip
    assert oracle <= gold


def test_an_ablated_row_without_scores_is_the_average_bit_for_bit(tmp_path):
    only = ("--only", "average", "--only", "no scores", "--only", "difficulty alone")
    cells = run(tmp_path, "ablate_scores", *only)
    average, without, whole = (
        cells[n, ""].steps() for n in ("average", "no scores", "difficulty alone")
    )
    assert (average["loss"] == without["loss"]).all()
    assert (weights(average) == weights(without)).all()
    assert not (average["loss"] == whole["loss"]).all()


def test_conditions_spoil_the_training_rationales_and_the_bank_says_which(tmp_path):
    conditions = (
        "conditions=[{name: clean, data: {}}, {name: half, series: wrong, x: 0.5, "
        "data: {corrupt: {wrong_answer: 0.5}}, rows: [average, compact, oracle]}]"
    )
    cells = run(tmp_path, "corruption", "--set", conditions)
    whole = cells["average", "clean"].steps()
    assert cells["oracle", "clean"].steps()["loss"].equals(whole["loss"])  # nothing to leave out
    assert ("compact_scores", "half") not in cells and ("base", "") in cells
    bank = pd.read_parquet(tmp_path / "corruption" / "mini" / "bank.parquet")
    teachers = bank[bank["role"] == "teacher"]
    spoilt = teachers[teachers["corruption"] != ""]
    assert set(spoilt["condition"]) == {"half"} and len(spoilt) == 16
    read = cells["oracle", "half"].steps()
    kept = teachers[(teachers["condition"] == "half") & (teachers["corruption"] == "")]
    assert set(map(tuple, read[["question_id", "teacher"]].to_numpy())) == set(
        map(tuple, kept[["question_id", "teacher"]].to_numpy())
    )
    scored = cells["compact_scores", "clean"].steps()
    assert {"score_consensus_states", "score_adaptability_uncut"} <= set(scored.columns)
    assert cells["compact_scores", "clean"].status["supervised_tokens"] == 0


def test_epiphanies_are_recorded(tmp_path):
    cells = run(tmp_path, "ablate_fusion", "--only", "adaptability by gain")
    found = pd.read_parquet(cells["adaptability by gain", ""].folder / "epiphany.parquet")
    assert ((found["gain"] > 0.1) == found["epiphany"]).all()
    assert set(found["epoch"]) == {0, 1, 2} and found["rationale_step"].min() == 1
