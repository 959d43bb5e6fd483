from __future__ import annotations

import numpy as np
import pytest

from compact_bench.analysis.headroom import (
    HARM,
    PRICE,
    RECOVERABLE,
    detectors,
    fault_weights,
    headline,
    headrooms,
    methods,
    recovery,
    weighting,
)
from compact_bench.analysis.results import Results, read
from tests import synthetic_worlds
from tests.synthetic_worlds import CONTROL, LARGE, SMALL


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Results:
    return read(synthetic_worlds.make(tmp_path_factory.mktemp("worlds")))


def mean(results: Results, name: str, condition: str) -> float:
    measure, row = headline(results), results.named(name, condition)
    assert measure is not None and row is not None
    return float(np.mean([*row.values[measure].values()]))


def test_controls_come_first_and_gaps_are_differences_of_means(results: Results) -> None:
    found = headrooms(results)
    assert [one.condition for one in found] == [CONTROL, LARGE, SMALL]
    assert [one.clear for one in found] == [False, True, True]
    for one in found:
        sides = {HARM: ("no floor", "average"), RECOVERABLE: ("oracle", "average"),
                 PRICE: ("no floor", "oracle")}  # fmt: skip
        for gap, (first, second) in sides.items():
            expected = mean(results, first, one.condition) - mean(results, second, one.condition)
            assert one.gaps[gap].mean == pytest.approx(expected)
            assert one.gaps[gap].half_width > 0


def test_a_share_is_of_the_headroom_and_there_is_none_without(results: Results) -> None:
    assert methods(results) == ["full", "random_weights", "human_sft"]
    control, large, _ = headrooms(results)
    found = recovery(results, large, "full")
    gain = mean(results, "full", LARGE) - mean(results, "average", LARGE)
    whole = mean(results, "oracle", LARGE) - mean(results, "average", LARGE)
    assert found.share.mean == pytest.approx(gain / whole)
    assert found.difference.mean == pytest.approx(gain) and found.marked
    assert recovery(results, control, "full").share is None
    nothing = recovery(results, large, "random_weights")
    assert abs(nothing.share.mean) < nothing.share.half_width and not nothing.marked


def test_scores_that_see_faults_are_told_from_weights_that_do_not(results: Results) -> None:
    found = detectors(results, LARGE)
    assert found["consensus"].auroc.low > 0.5 and found["consensus"].read_by.name == "full"
    ratios = fault_weights(results, LARGE)
    assert ratios["full"].mean + ratios["full"].half_width < 1
    assert abs(ratios["random_weights"].mean - 1) < 0.1
    assert ratios["average"].mean == pytest.approx(1)
    assert not fault_weights(results, CONTROL)  # no faults, no weight of theirs
    assert weighting(results) == ["full", "random_weights"]


@pytest.mark.parametrize("missing", [*synthetic_worlds.KEYS])
def test_a_suite_that_names_no_such_row_has_no_headroom(results: Results, missing: str) -> None:
    suite = {**results.suite, missing: ""}
    plan = type(results.plan)(**{**vars(results.plan), "suite": suite})
    other = Results(**{
        name: getattr(results, name)
        for name in ("rows", "measures", "before", "chance", "n_items", "splits")
    }, plan=plan)  # fmt: skip
    assert not headrooms(other)
