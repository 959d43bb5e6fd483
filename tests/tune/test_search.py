"""The search: trials that count, determinism, kills, pruning, failures."""

from __future__ import annotations

import math
from dataclasses import replace

import optuna
import pytest

from compact_bench.execution import pool
from compact_bench.tune import presence, search, trials
from compact_bench.tune.trials import COMPLETE, FAILED, LEARNING_RATE, PRUNED
from tests.tune.conftest import search_rows

pytestmark = pytest.mark.usefixtures("no_pictures")


def _value(settings):
    found = {"x": 0.9, "a": 0.5, LEARNING_RATE: 0.002} | settings
    rate = abs(math.log2(found[LEARNING_RATE] / 2e-3))
    return (found["a"] - 1) ** 2 + (found["x"] - 0.3) ** 2 + rate


def _draws(search, label="knobs"):
    study = next(one for one in search.studies if one.label == label)
    return [(t.state, t.settings, t.values, t.reports) for t in study.finished]


def test_as_many_trials_finish_as_were_asked_for_and_the_values_are_the_cells(suite, go, read):
    code, lines = go(suite(pruner="none"), "knobs")
    assert code == 0, lines
    study = read().studies[0]
    assert [trial.state for trial in study.trials] == [COMPLETE] * 6
    for trial in study.trials:
        assert trial.values == pytest.approx((_value(trial.settings),))
        assert trial.settings["a"] + trial.settings["b"] == pytest.approx(2.0)
        assert trial.tokens == 10
    assert study.best == min(study.trials, key=lambda trial: trial.values)


def test_the_first_trial_has_the_rows_own_settings(suite, go, read):
    go(suite(), "knobs")
    own = {"x": 0.9, "a": 0.5, "b": 1.5, "n": 2, "scale": 1.0, LEARNING_RATE: 0.002}
    assert read().studies[0].trials[0].settings == pytest.approx(own)
    assert read().studies[0].default == read().studies[0].trials[0]


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
def test_the_same_seed_gives_the_same_trials_in_the_same_order(
    suite, go, read, folder, options, sampler
):
    go(suite(sampler=sampler, trials=13), "knobs")
    first = _draws(read())
    go(suite(sampler=sampler, trials=13), "knobs", study="again")
    second = _draws(trials.read(folder.with_name("tune-again")))
    assert first == second
    go(suite(sampler=sampler, trials=13, seed=1), "knobs", study="other")
    assert _draws(trials.read(folder.with_name("tune-other"))) != first


def test_nothing_is_repeated_and_more_trials_go_on(suite, go, read, folder):
    go(suite(trials=4), "knobs")
    four = _draws(read())
    assert go(suite(trials=4), "knobs")[1][0] == "tiny mini: 0 trials to do of knobs"
    go(suite(trials=7), "knobs")
    assert _draws(read())[:4] == four
    assert len(_draws(read())) == 7
    assert {p.read_text() for p in folder.glob("runs/*/tries")} == {"x"}


def test_a_search_that_was_cut_short_goes_on_as_if_it_had_not_been(
    suite, go, read, folder, monkeypatch
):
    """As after SIGKILL: the trial under way stays running in the storage, its process is gone."""
    go(suite(trials=8), "knobs", study="whole")
    whole = _draws(trials.read(folder.with_name("tune-whole")))
    for stop in (3, 6):
        take = search.Searcher._take
        taken = []

        def dying(self, news, take=take, taken=taken, stop=stop):
            taken.append(news)
            if news.event["event"] == "report" and len(taken) > stop:
                raise SystemExit("killed")
            take(self, news)

        with monkeypatch.context() as patch:
            patch.setattr(search.Searcher, "_take", dying)
            patch.setattr(search.Searcher, "_give_back", lambda self: None)
            with pytest.raises(SystemExit):
                go(suite(trials=8), "knobs")
    code, _ = go(suite(trials=8), "knobs")
    assert code == 0
    found = read().studies[0]
    assert _draws(read()) == whole
    failed = [trial for trial in found.trials if trial.state == FAILED]
    assert len(failed) == 2
    retried = {
        trial.retry_of: trial.settings for trial in found.trials if trial.retry_of is not None
    }
    assert {trial.number: trial.settings for trial in failed} == retried


@pytest.mark.parametrize(
    ("storage", "moment"),
    [
        ("journal", "create_new_trial"),
        ("journal", "set_trial_param"),
        ("sqlite", "create_new_trial"),
    ],
)
def test_a_kill_while_a_trial_is_drawn_changes_nothing(
    suite, go, folder, tmp_path, monkeypatch, storage, moment
):
    """The process ends right after its trial is in the storage, or with half of its draw."""
    kind, url = optuna.storages.JournalStorage, None
    if storage == "sqlite":
        kind, url = optuna.storages.RDBStorage, f"sqlite:///{tmp_path / 'study.db'}"
    go(suite(trials=7), "knobs", study="whole")
    write, calls = getattr(kind, moment), []

    def dying(self, *arguments, **named):
        made = write(self, *arguments, **named)
        calls.append(made)
        if len(calls) == 4:
            raise SystemExit("killed")
        return made

    with monkeypatch.context() as patch:
        patch.setattr(kind, moment, dying)
        patch.setattr(search.Searcher, "_give_back", lambda self: None)
        with pytest.raises(SystemExit):
            go(suite(trials=7), "knobs", storage=url)
    monkeypatch.setattr(presence, "SILENCE", math.inf)  # it need not be waited for
    assert go(suite(trials=7), "knobs", storage=url)[0] == 0
    whole = folder.with_name("tune-whole")
    assert _draws(trials.read(folder)) == _draws(trials.read(whole))
    assert (folder / "best.yaml").read_text() == (whole / "best.yaml").read_text()


def test_a_trial_killed_for_want_of_memory_is_done_again_with_fewer_beside_it(
    suite, options, read, monkeypatch
):
    counts = iter(range(99))  # Linux counts one kill more each time it is asked
    monkeypatch.setattr(pool, "memory_kills", lambda: next(counts))
    methods = ["still", {"knobs": {"behave": "dies once"}, "label": "knobs"}]
    made = suite({"methods": methods}, trials=4, pruner="none")
    code, lines = search_rows(made, replace(options, jobs=2), ("knobs",), test=False)
    assert code == 0
    assert any("out of memory" in line and "again, with 1 cells" in line for line in lines)
    assert [trial.state for trial in read().studies[0].trials] == [COMPLETE] * 4


def test_ctrl_c_gives_the_trial_back(suite, go, read, monkeypatch):
    def interrupt(self, news):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(search.Searcher, "_take", interrupt)
        code, lines = go(suite(trials=3), "knobs")
    assert code == 130
    assert lines[-1] == "stopped; the same command goes on from here"
    assert go(suite(trials=3), "knobs")[0] == 0
    assert [trial.reason for trial in read().studies[0].trials if trial.state == FAILED] == [
        "interrupted"
    ]
    assert len(read().studies[0].finished) == 3


@pytest.mark.parametrize("pruner", ["median", "asha"])
def test_pruned_trials_count_and_were_stopped_where_optuna_says(suite, go, read, pruner):
    """Told the same reports, a pruner of Optuna's in a study of its own says the same."""
    go(suite(trials=20, pruner=pruner, sampler="random"), "knobs")
    found = read().studies[0].trials
    assert len(found) == 20
    assert PRUNED in {trial.state for trial in found}
    other = {
        "median": optuna.pruners.MedianPruner(n_startup_trials=5, n_min_trials=5),
        "asha": optuna.pruners.SuccessiveHalvingPruner(1, 2),
    }[pruner]
    study = optuna.create_study(pruner=other)
    for trial in found:
        same = study.ask()
        stopped = False
        for step, value in trial.reports:
            same.report(value, step)
            stopped = same.should_prune()
        assert stopped == (trial.state == PRUNED)
        if stopped:
            study.tell(same, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(same, trial.values[0])


def test_a_trial_trains_all_its_seeds_and_reports_means(suite, go, read):
    go(suite(seeds=[101, 103], pruner="median", trials=3), "knobs")
    for trial in read().studies[0].complete:
        value = _value(trial.settings)
        assert trial.values == pytest.approx((value + 0.02,))  # seeds add 0.01 and 0.03
        assert dict(trial.reports) == pytest.approx(
            {
                1: 3.5 * (value + 0.01),
                2: 2.5 * (value + 0.01),
                3: value + 0.01,  # the whole first seed
                4: (value + 0.01 + 3.5 * (value + 0.03)) / 2,
                5: (value + 0.01 + 2.5 * (value + 0.03)) / 2,
            }
        )


def test_settings_that_diverge_count_as_bad_ones(suite, go, read):
    rows = {"methods": ["still", {"knobs": {"behave": "x>0.5"}, "label": "mine"}],
            "compare_to": "still"}  # fmt: skip
    code, _ = go(suite(rows, trials=8, sampler="random"), "mine")
    assert code == 0
    found = read().studies[0].finished
    assert len(found) == 8
    for trial in found:
        assert (trial.reason == "it is diverged") == (trial.settings["x"] > 0.5)
    assert {trial.state for trial in found if trial.settings["x"] > 0.5} == {PRUNED}


def test_a_row_that_fails_is_given_up_and_the_others_go_on(suite, go, read):
    rows = {"methods": ["still", {"knobs": {"behave": "failed"}, "label": "bad"}, "knobs"]}
    code, lines = go(suite(rows, trials=3), "bad", "knobs")
    assert code == 1
    assert "bad: given up after 3 failures in a row: it is failed" in lines
    by_label = {study.label: study for study in read().studies}
    assert [trial.state for trial in by_label["bad"].trials] == [FAILED] * 3
    assert not by_label["bad"].over
    assert len(by_label["knobs"].finished) == 3


def test_equal_settings_are_trained_once_and_paid_once(suite, go, read, folder):
    """dummy has its learning rate alone: three settings for any number of trials."""
    go(suite(trials=9, pruner="none"), "dummy", "knobs")
    dummy, knobs = read().studies
    assert len(dummy.finished) == len(knobs.finished) == 9
    distinct = {trial.settings[LEARNING_RATE] for trial in dummy.finished}
    assert distinct <= {0.001, 0.002, 0.004}
    assert sum(trial.tokens for trial in dummy.trials) == 10 * len(distinct)
    assert {p.read_text() for p in folder.glob("runs/*/tries")} == {"x"}


def test_a_budget_of_tokens_ends_the_search_of_every_row(suite, go, read):
    go(suite(trials=50, tokens=45, pruner="none"), "knobs")
    study = read().studies[0]
    assert len(study.finished) == 5  # 10 tokens each
    assert study.over


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_two_objectives_give_a_front(suite, go, read, sampler):
    tasks = [{"task": "in_domain", "role": "reasoning"},
             {"task": "mini_one_step", "role": "forgetting", "limit": 3}]  # fmt: skip
    keys = {"evaluation": {"marginal_samples": 2, "tasks": tasks}}
    section = {"objective": ["marginal_nll", "old_accuracy"], "sampler": sampler, "trials": 12}
    code, lines = go(suite(keys, **section), "knobs")
    assert code == 0, lines
    study = read().studies[0]
    for trial in study.complete:
        assert trial.values == pytest.approx((_value(trial.settings), trial.settings["x"]))
    beaten = [
        trial
        for trial in study.complete
        if any(
            o.values[0] <= trial.values[0] and o.values[1] >= trial.values[1] and o != trial
            for o in study.complete
        )
    ]
    assert {t.number for t in study.front} == {t.number for t in study.complete if t not in beaten}
