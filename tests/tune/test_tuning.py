"""The whole of `tune`: the winner's suite, its one test, tables, tuned ablations, publication."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import yaml

from compact_bench.commands.publish import publish_folder
from compact_bench.commands.run import run_suite
from compact_bench.errors import UserError
from compact_bench.execution.plan import make_plan, suite_folder
from compact_bench.records.cells import read_cells
from compact_bench.suite.schema import load_suite
from compact_bench.tune import trials
from compact_bench.tune.report import page
from compact_bench.tune.trials import LEARNING_RATE, Hyperparameter, Study, Trial
from compact_bench.tune.winners import with_tuned
from tests.tune.conftest import ENTRY


@pytest.fixture
def tested(suite, go, folder):
    """A search of two rows with its test: exit code, lines, results of the test."""
    code, lines = go(suite(trials=5, pruner="none"), "knobs", "dummy", test=True)
    return code, lines, folder / "tiny_tuned" / "mini"


def test_the_winner_is_trained_with_fresh_seeds_and_asked_test_once(tested, suite, go, read):
    code, _, results = tested
    assert code == 0
    cells = [one for one in read_cells(results) if one.spec["seed"] is not None]
    assert {(one.spec["label"], one.spec["seed"]) for one in cells} == {
        (label, seed)
        for label in ("knobs", "knobs, tuned", "dummy", "dummy, tuned")
        for seed in (0, 1)
    }
    assert all(set(cell.eval()["split"]) == {"test"} for cell in cells)
    best = {study.label: study.best.settings for study in read().studies}
    for cell in cells:
        row, _, tuned = cell.spec["label"].partition(", ")
        own = {"x": 0.9, "a": 0.5} if row == "knobs" else {}
        wanted = {k: v for k, v in best[row].items() if k in own} if tuned else own
        rate = best[row][LEARNING_RATE] if tuned else 0.002
        assert {k: cell.spec["config"][k] for k in own} == pytest.approx(wanted)
        assert cell.spec["training"]["learning_rate"] == rate
    again, _ = go(suite(trials=5, pruner="none"), "knobs", "dummy", test=True)
    assert again == 0
    assert {(cell.folder / "tries").read_text() for cell in cells} == {"x"}


def test_no_trial_is_chosen_after_a_look_at_test(tested, suite, go):
    with pytest.raises(UserError, match=r"knobs: its winner was tested already.*--study"):
        go(suite(trials=6, pruner="none"), "knobs", test=True)


def test_best_yaml_is_a_suite_that_run_takes(tested, folder, options):
    suite = load_suite(folder / "best.yaml")
    assert suite.suite == "tiny_tuned"
    assert suite.tune is None
    assert run_suite(suite, options, lambda line: None, ENTRY) == 0
    mine = read_cells(options.results / "tiny_tuned" / "mini")
    assert {cell.run_id for cell in mine} == {cell.run_id for cell in read_cells(tested[2])}


def test_a_profile_of_another_name_is_kept(write_suite, go, options):
    from compact_bench.suite.schema import load_suite as load
    from tests.tune.conftest import KEYS

    keys = KEYS | {"profiles": {"laptop": {}}, "tune": {"trials": 2}}
    go(load(write_suite(**keys), "laptop"), "knobs", test=True)
    best = options.results / "tiny" / "laptop" / "tune" / "best.yaml"
    assert load(best).profile == "laptop"


def test_the_tables_say_what_tuning_bought_and_how_far_dev_promised_more(tested, folder, read):
    import pandas as pd

    found = pd.read_csv(folder / "tables" / "tuned.csv").set_index("label")
    promise = pd.read_csv(folder / "tables" / "optimism.csv").set_index("label")
    cost = pd.read_csv(folder / "tables" / "tuning_cost.csv").set_index("label")
    for study in read().studies:
        label = f"{study.label}, tuned"
        test = {}
        for cell in read_cells(tested[2]):
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
                           for one in read_cells(tested[2])
                           if one.spec["label"] == wanted])
            for name, wanted in zip(rows, (study.label, label), strict=True)
        }  # fmt: skip
        got = values["own"] - values["winner"]
        assert promise.loc[label, "optimism"] == pytest.approx(dev - got)
        assert cost.loc[study.label, "finished"] == 5
        assert cost.loc[study.label, "tokens"] == sum(trial.tokens for trial in study.trials)


def test_the_page_escapes_and_needs_nothing_else(tested, folder):
    text = (folder / "report.html").read_text()
    assert "What tuning bought" in text
    assert "http://" not in text.replace("http://www.w3.org", "")


def test_a_second_row_joins_the_first(suite, go, read, folder):
    go(suite(trials=3), "knobs", test=True)
    go(suite(trials=3), "dummy", test=True)
    assert [study.label for study in read().studies] == ["knobs", "dummy"]
    labels = [row["label"] for row in yaml.safe_load((folder / "best.yaml").read_text())["methods"]
              if isinstance(row, dict)]  # fmt: skip
    assert labels == ["knobs", "knobs, tuned", "dummy", "dummy, tuned"]
    tries = [p.read_text() for p in (folder / "tiny_tuned/mini/runs").glob("*/tries")]
    assert set(tries) == {"x"}


def test_two_objectives_test_the_ends_and_the_middle_of_the_front(suite, go, read, folder):
    tasks = [{"task": "in_domain", "role": "reasoning"},
             {"task": "mini_one_step", "role": "forgetting", "limit": 3}]  # fmt: skip
    keys = {"evaluation": {"marginal_samples": 2, "tasks": tasks}}
    section = {"objective": ["marginal_nll", "old_accuracy"], "trials": 15, "sampler": "random"}
    code, _ = go(suite(keys, **section), "knobs", test=True)
    assert code == 0
    front = read().studies[0].front
    rows = yaml.safe_load((folder / "best.yaml").read_text())["methods"]
    x = {row["label"]: row["knobs"].get("x") for row in rows if isinstance(row, dict)}
    by_x = sorted(trial.settings["x"] for trial in front)
    assert x["knobs, tuned for old skills"] == by_x[-1]
    assert x["knobs, tuned for reasoning"] == front[0].settings["x"]
    assert len(front) < 3 or "knobs, tuned between" in x


def test_an_ablation_is_tuned_alike_before_it_is_run(suite, options, read):
    changes = {"no x": {"x": 0.0}, "wide": {"scale": 5.0}}
    keys = {
        "methods": ["still"],
        "compare_to": "",
        "ablation": {"of": "knobs", "changes": changes, "tuned": True},
    }
    whole = suite(keys, trials=4, pruner="none")
    waiting = make_plan(whole, options)
    assert {spec.label for spec in waiting.cells if spec.run_id in waiting.waiting} == {
        "knobs", "no x", "wide",
    }  # fmt: skip
    lines: list[str] = []
    assert run_suite(whole, options, lines.append, ENTRY) == 0
    studies = {study.label: study for study in read().studies}
    assert {label: len(one.finished) for label, one in studies.items()} == {
        "knobs": 4, "no x": 4, "wide": 4,
    }  # fmt: skip
    root = suite_folder(whole, options.results)
    plan = make_plan(with_tuned(whole, root), options)
    for spec in plan.cells:
        if spec.label in studies:
            best = studies[spec.label].best.settings
            assert spec.training["learning_rate"] == best[LEARNING_RATE]
            own = {k: v for k, v in best.items() if k != LEARNING_RATE}
            assert {k: spec.config[k] for k in own} == pytest.approx(own)
            assert plan.status(spec) == "done"
    assert "x" not in {knob.name for knob in studies["no x"].knobs}
    assert plan.cells[0].label == "still"


def test_selection_and_a_tuned_ablation_are_not_both_for_the_learning_rate(suite):
    keys = {
        "ablation": {"of": "knobs", "changes": {"no x": {"x": 0.0}}, "tuned": True},
        "selection": {"learning_rates": [0.002, 0.004]},
    }
    with pytest.raises(UserError, match="both choose learning rates"):
        suite(keys)


def test_publishing_takes_the_search_and_its_test_along(tested, suite, options, folder, tmp_path):
    run_suite(suite(trials=5, pruner="none"), options, lambda line: None, ENTRY)
    target = tmp_path / "published" / "tiny" / "mini"
    publish_folder(folder.parent, target)
    for name in ("trials.json", "best.yaml", "studies.journal", "report.html",
                 "tables/tuned.md", "tiny_tuned/mini/suite.json"):  # fmt: skip
        assert (target / "tune" / name).exists(), name
    assert not (target / "tune" / "runs").exists()
    assert not (target / "tune" / "workers").exists()
    before = {p: p.read_bytes() for p in (target / "tune" / "tables").iterdir()}
    page.rebuild(target)
    assert {p: p.read_bytes() for p in (target / "tune" / "tables").iterdir()} == before
    everything = b"".join(p.read_bytes() for p in target.rglob("*") if p.is_file())
    assert str(tmp_path).encode() not in everything


def test_what_was_found_is_read_back_as_it_was_written(tmp_path):
    knobs = (Hyperparameter("x", 0.5, 0.0, 1.0), Hyperparameter("rate", 1.0, choices=(1.0, 2.0)))
    tried = (
        Trial(0, "complete", {"x": 0.1}, (1.5,), ((1, 2.0),), 10.0, 5.0, 1.0, "", None),
        Trial(1, "pruned", {"x": 0.2}, (), ((1, 3.0),), retry_of=0),
    )
    study = Study("row", "m", ("marginal_nll",), "tpe", "none", 0, (1,), knobs, tried)
    search = trials.Search({"suite": "tiny", "seeds": [1]}, (study,), ("a note",))
    trials.write(tmp_path, search)
    found = trials.read(tmp_path)
    assert found.studies[0].trials == tried
    assert found.notes == ("a note",)
    assert math.isnan(found.studies[0].knobs[1].low)
    assert found.studies[0].knobs[0] == Hyperparameter(
        "x", 0.5, 0.0, 1.0, total=found.studies[0].knobs[0].total
    )
    (tmp_path / "trials.json").write_text(json.dumps({"studies": 1}))
    with pytest.raises(UserError, match="cannot read"):
        trials.read(tmp_path)
