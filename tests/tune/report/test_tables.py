"""The tables against numbers that are computed here from trials and cells."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from compact_bench.records.cells import read_cells
from compact_bench.report.parts.formats import WRITERS
from compact_bench.tune.report import tables
from compact_bench.tune.trials import FAILED, Search
from tests import synthetic_search
from tests.synthetic_search import SUITE, with_state


def test_the_tables_say_what_tuning_bought_and_how_far_dev_promised_more(tested, folder, read):

    found = pd.read_csv(folder / "tables" / "tuned.csv").set_index("label")
    promise = pd.read_csv(folder / "tables" / "optimism.csv").set_index("label")
    cost = pd.read_csv(folder / "tables" / "tuning_cost.csv").set_index("label")
    for study in read().studies:
        label = f"{study.label}, tuned"
        test = {}
        for cell in read_cells(tested[1]):
            nll = [row["marginal_nll"] for row in cell.samples()]
            test.setdefault(cell.spec["label"], []).append(nll)
        gained = np.array(test[label]) - np.array(test[study.label])
        key = "in_domain.marginal_nll.delta.mean"
        assert found.loc[label, key] == pytest.approx(gained.mean())
        dev = study.default.values[0] - study.best.values[0]
        assert promise.loc[label, "promised"] == pytest.approx(dev)
        # The stub adds its items' numbers to the values of test: 1.5 in the mean of both rows.
        rows = {"own": study.default.settings, "winner": study.best.settings}
        values = {
            name: np.mean([one.eval().set_index("metric").loc["marginal_nll", "value"]
                           for one in read_cells(tested[1])
                           if one.spec["label"] == wanted])
            for name, wanted in zip(rows, (study.label, label), strict=True)
        }  # fmt: skip
        got = values["own"] - values["winner"]
        assert promise.loc[label, "optimism"] == pytest.approx(dev - got)
        assert cost.loc[study.label, "finished"] == 5
        assert cost.loc[study.label, "tokens"] == sum(trial.tokens for trial in study.trials)


def test_a_search_in_which_every_trial_failed_has_no_table_of_winners():
    failed = with_state(
        synthetic_search.study(values=[(1.5,)]), 0, FAILED, reason="the disk is full"
    )
    made = {one.name: one for one in tables.build(Search(SUITE, (failed,)), None)}
    assert "settings" not in made and {"tuning_cost", "trials"} <= set(made)
    assert all(writer(one) for one in made.values() for writer in WRITERS.values())
