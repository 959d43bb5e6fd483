"""The checks as a list of results: a sound method passes, and none goes without a broken one."""

from __future__ import annotations

from compact_bench.testing import FUNCTIONS, run_checks
from tests.testing import test_declared, test_training
from tests.testing.methods import Sound


def test_every_check_has_a_broken_method():
    assert {name for name, _, _ in (*test_declared.BROKEN, *test_training.BROKEN)} == {
        function.__name__ for function in FUNCTIONS
    }


def test_a_sound_method_passes_all():
    results = run_checks(Sound)
    assert [result.check for result in results] == [function.__name__ for function in FUNCTIONS]
    assert {(result.result, result.why) for result in results} == {("ok", "")}
    assert all(result.description for result in results)


def test_what_the_method_raises_is_a_failed_check_with_its_message():
    class Raises(Sound):
        """Can't weigh."""

        def weights(self, out, batch):
            raise ValueError("no such tensor")

    found = {result.check: result for result in run_checks(Raises)}
    assert found["weights"].result == "FAILED"
    assert found["weights"].why.startswith("ValueError: no such tensor (test_checks.py:")
    assert found["weights"].why.endswith(', in weights: raise ValueError("no such tensor"))')
    assert found["config"].result == "ok"
