"""The winner's suite, its one test, and tuned ablations."""

from __future__ import annotations

import pytest
import yaml

from compact_bench.commands.run import run_suite
from compact_bench.errors import UserError
from compact_bench.execution.plan import make_plan, suite_folder
from compact_bench.records.cells import read_cells
from compact_bench.suite.schema import load_suite
from compact_bench.tune.trials import LEARNING_RATE
from compact_bench.tune.winners import with_tuned
from tests.tune.conftest import ENTRY, KEYS

pytestmark = pytest.mark.usefixtures("no_pictures")


def test_the_winner_is_trained_with_fresh_seeds_and_asked_test_once(tested, suite, go, read):
    code, results = tested
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
    assert {cell.run_id for cell in mine} == {cell.run_id for cell in read_cells(tested[1])}


def test_a_profile_of_another_name_is_kept(write_suite, go, options):
    from compact_bench.suite.schema import load_suite as load

    keys = KEYS | {"profiles": {"laptop": {}}, "tune": {"trials": 2}}
    go(load(write_suite(**keys), "laptop"), "knobs", test=True)
    best = options.results / "tiny" / "laptop" / "tune" / "best.yaml"
    assert load(best).profile == "laptop"


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
            assert plan.states()[spec.run_id] == "done"
    assert "x" not in {one.name for one in studies["no x"].hyperparameters}
    assert plan.cells[0].label == "still"


def test_selection_and_a_tuned_ablation_are_not_both_for_the_learning_rate(suite):
    keys = {
        "ablation": {"of": "knobs", "changes": {"no x": {"x": 0.0}}, "tuned": True},
        "selection": {"learning_rates": [0.002, 0.004]},
    }
    with pytest.raises(UserError, match="both choose learning rates"):
        suite(keys)
