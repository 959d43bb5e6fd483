"""Studies that processes share, and their storage: trials too many, other meanings, errors."""

from __future__ import annotations

import json

import optuna
import pytest

from compact_bench.errors import UserError
from compact_bench.tune import search, targets
from compact_bench.tune.optuna_study import (
    WORKER,
    WithoutFailures,
    open_storage,
    open_study,
    unreachable,
    without_password,
)
from compact_bench.tune.presence import Presence
from compact_bench.tune.trials import LEARNING_RATE
from tests.tune.conftest import KEYS

pytestmark = pytest.mark.usefixtures("no_pictures")


def test_a_trial_too_many_is_given_back(suite, go, options, folder):
    """Another process asked at the same moment: the one of the higher number steps back."""
    go(suite(trials=2), "knobs")
    bench = targets.make_bench(suite(trials=3), options)
    (target,) = targets.find(bench, ["knobs"])
    storage = open_storage(None, folder)
    presence = Presence(folder / "workers")
    try:
        meaning = bench.meaning(target)
        shared = open_study(storage, "tiny/mini/knobs", target.space, bench.spec, meaning, presence)
        other = shared.study.ask()  # the third, by somebody who lives
        other.set_user_attr(WORKER, presence.name)
        assert shared.ask() is None
        shared.study.tell(other, state=optuna.trial.TrialState.FAIL)
        mine = shared.ask()
        assert mine is not None
        assert mine.number == other.number + 1
    finally:
        presence.close()


@pytest.mark.parametrize("killed", [False, True])
def test_a_trial_that_was_killed_does_not_count_beside_its_retry(killed):
    """Of 2, 9 and 5 half go on, that is one; of 2, 9, 9 and 5 two would."""
    halving = optuna.pruners.SuccessiveHalvingPruner(1, reduction_factor=2)
    study = optuna.create_study(pruner=WithoutFailures(halving))
    stopped = {}
    for value, state in ((2.0, "COMPLETE"), (9.0, "FAIL"), (9.0, "PRUNED"), (5.0, "PRUNED")):
        if state == "FAIL" and not killed:
            continue
        trial = study.ask()
        trial.report(value, 1)
        stopped[value] = trial.should_prune()
        done = [value] if state == "COMPLETE" else None
        study.tell(trial, done, state=optuna.trial.TrialState[state])
    assert stopped == {2.0: False, 9.0: True, 5.0: True}


def test_a_grid_ends_with_its_points(suite, go, read):
    section = {"sampler": "grid", "trials": 99, "grid": 2, "space": {"knobs": {"x": [0, 1]}}}
    go(suite(**section), "knobs")
    found = [(t.settings["x"], t.settings[LEARNING_RATE]) for t in read().studies[0].finished]
    assert len(found) == 6
    assert set(found) == {(x, rate) for x in (0.0, 1.0) for rate in (0.001, 0.002, 0.004)}


def test_a_search_asked_otherwise_needs_another_name(suite, go):
    go(suite(trials=2), "knobs")
    with pytest.raises(UserError, match=r"begun with search.seed 0, not 1; .*--study"):
        go(suite(trials=2, seed=1), "knobs")
    training = KEYS["training"] | {"epochs": 2}
    with pytest.raises(UserError, match=r"begun with training\.epochs 1, not 2"):
        go(suite({"training": training}, trials=2), "knobs")


def test_a_study_of_an_older_version_goes_on(suite, go, folder):
    """Its space was stored as the text of a class that has another name today."""
    go(suite(trials=2), "knobs")
    journal = folder / "studies.journal"
    entries = [json.loads(line) for line in journal.read_text().splitlines()]
    space = next(e["user_attr"]["asked"]["space"] for e in entries if "asked" in str(e))
    for name, values in space.items():
        pairs = ", ".join(
            f"{key}={'nan' if value is None else repr(value)}"
            for key, value in (values | {"choices": tuple(values["choices"])}).items()
        )
        space[name] = f"Knob({pairs})"
    journal.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    assert go(suite(trials=3), "knobs")[1][0] == "tiny mini: 1 trials to do of knobs"
    with pytest.raises(UserError, match=r"begun with space\.a .*, not None"):
        go(suite(trials=3, space={"knobs": {"x": [0, 1]}}), "knobs")


def test_a_storage_that_is_away_is_shown_without_its_password(suite, go, folder):
    url = "sqlite:////no/such/folder/study.db"
    with pytest.raises(UserError, match=r"can't reach the storage sqlite:.*unable to open"):
        go(suite(), "knobs", storage=url)
    with pytest.raises(UserError, match="not a URL"):
        go(suite(), "knobs", storage="nonsense")
    assert without_password("mysql://me:secret@host/db") == "mysql://me:***@host/db"


@pytest.mark.parametrize("key", ["password", "sslpassword", "token"])
def test_a_password_in_the_query_of_a_url_is_not_shown(key):
    url = f"postgresql+psycopg://me@host/db?{key}=se%20cret&sslmode=require"
    error = OSError(f"connection with {key}='se cret' refused (se%20cret, se+cret)")
    line = unreachable(url, error)
    assert not any(secret in line for secret in ("se cret", "se%20cret", "se+cret"))
    shown = without_password(url)
    assert shown.startswith("postgresql+psycopg://me@host/db?") and shown in line
    assert f"{key}=***" in shown and "sslmode=***" in shown


def test_a_line_that_a_full_disk_cut_off_is_mended(suite, go, folder, read):
    go(suite(trials=2), "knobs")
    journal = folder / "studies.journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole + whole[:30].rstrip(b"\n"))
    go(suite(trials=3), "knobs")
    assert len(read().studies[0].finished) == 3
    assert all(isinstance(json.loads(line), dict) for line in journal.read_text().splitlines())


def test_a_storage_that_goes_away_loses_nothing(suite, go, read, tmp_path, monkeypatch):
    from sqlalchemy.exc import OperationalError

    url = f"sqlite:///{tmp_path / 'study.db'}"
    ended = search.Searcher._ended

    def away(self, slot):
        if len(self.attempts[slot].shared.finished()) == 2:
            raise OperationalError("SELECT 1", {}, Exception("the server went away"))
        ended(self, slot)

    with monkeypatch.context() as patch:
        patch.setattr(search.Searcher, "_ended", away)
        patch.setattr(search.Searcher, "_give_back", lambda self: None)
        with pytest.raises(UserError, match=r"server went away.*nothing is lost"):
            go(suite(), "knobs", storage=url)
    code, _ = go(suite(), "knobs", storage=url)
    assert code == 0
    assert len(read().studies[0].finished) == 6
