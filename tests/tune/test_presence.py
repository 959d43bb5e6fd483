"""A process that has ended is known by its lock or its silence."""

from __future__ import annotations

import optuna

from compact_bench.tune.presence import PREFIX, SILENCE, Presence


def test_a_dead_process_is_known_by_its_lock_or_its_silence(tmp_path):
    study = optuna.create_study()
    now = [0.0]
    here = Presence(tmp_path / "a", clock=lambda: now[0])
    beside = Presence(tmp_path / "a")
    elsewhere = Presence(tmp_path / "b")
    try:
        assert not here.has_ended(beside.name, study)
        beside.close()
        study.set_user_attr(PREFIX + elsewhere.name, 1)
        assert not here.has_ended(elsewhere.name, study)
        now[0] += SILENCE - 1
        assert not here.has_ended(elsewhere.name, study)
        study.set_user_attr(PREFIX + elsewhere.name, 2)
        now[0] += 2
        assert not here.has_ended(elsewhere.name, study)  # it has spoken
        now[0] += SILENCE + 1
        assert here.has_ended(elsewhere.name, study)
        assert not here.has_ended(here.name, study)
    finally:
        here.close()
        elsewhere.close()
