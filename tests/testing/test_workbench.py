"""What methods are checked on: the bank, settings, and methods that can't run here."""

from __future__ import annotations

import pytest

from compact_bench.testing import checks, run_checks
from compact_bench.testing.workbench import bank
from tests.testing.methods import Sound


def test_the_bank_lacks_different_teachers_and_has_what_methods_need():
    rationales = bank().rationales
    own = rationales[rationales["role"] == "teacher"]
    found = {q: set(group["teacher"]) for q, group in own.groupby("question_id", sort=False)}
    missing = [set(bank().teachers) - teachers for teachers in found.values()]
    assert missing == [{teacher} for teacher in bank().teachers[:3]]
    assert (own["sample"] == 1).sum() == 1
    assert set(rationales.loc[rationales["role"] == "human", "question_id"]) == set(found)
    sound = own["right"] & (own["corruption"] == "")
    assert sound.groupby(own["question_id"]).agg(["any", "all"]).to_numpy().tolist() == [
        [True, False]
    ] * len(found)


def test_a_method_that_can_not_run_here_is_skipped_with_its_own_reason():
    class NeedsMore(Sound):
        """Needs five teachers."""

        def skip(self, run):
            return None if len(run.teachers) > 4 else f"{len(run.teachers)} teachers, not 5"

    found = {result.check: result for result in run_checks(NeedsMore)}
    assert found["weights"].result == "skipped" and found["weights"].why == "4 teachers, not 5"
    assert found["config"].result == "ok"


def test_settings_reach_the_method_and_wrong_ones_are_refused():
    class Only(Sound):
        """Runs with one setting alone."""

        def skip(self, run):
            return None if self.config.scale == 3 else "scale isn't 3"

    (check, *_) = [c for c in checks(Only, {"scale": 3}) if c.name == "weights"]
    assert check.run() == ""
    with pytest.raises(ValueError, match="scael"):
        checks(Only, {"scael": 3})
