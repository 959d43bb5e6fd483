"""What holds for every method, whichever are registered: the conformance checks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from compact_bench.api import uniform
from compact_bench.methods.registry import load
from compact_bench.testing import Check, checks

METHODS = load().methods
# Settings without which a method's own `skip` says that it can't run on three questions.
NEEDED = {
    "best_subset": {"budget": "own"},
    "best_teacher": {"budget": "own"},
    "dwa": {"steps": 1},
    "gkd": {"models": ["nano"]},
    "mentor_kd": {"mentor": "nano"},
    "merge_of_thought": {"rounds": 1},
}
# Other settings that change which steps are made.
MORE = {
    "adapter_soup": {"budget": "own"},
    "average_consistency": {"span": "sequence"},
    # Weights differ after the warm-up, which by default is longer than the checks.
    "compact": {"warm_up": 4, "adaptability": "positive_gains", "consistency": "answer"},
    "gkd": {"models": ["nano"], "divergence": "reverse", "on_policy": 1.0},
    "knowledge_purification": {"variant": "plackett_luce"},
    "mix_distillation": {"kind": "teacher", "strong": ["sentences"]},
    "rank_surprisal": {"choice": "soft"},
}


def every_check() -> Iterator[Any]:
    rows = [(name, NEEDED.get(name)) for name in sorted(METHODS)] + list(MORE.items())
    for name, settings in rows:
        label = f"{name} {settings}" if settings else name
        for check in checks(METHODS[name], settings):
            yield pytest.param(check, id=f"{label}-{check}")


@pytest.mark.parametrize("check", list(every_check()))
def test_conformance(check: Check):
    reason = check.run()
    # With the settings above every method can run, so that none goes unchecked.
    assert not reason.startswith("skipped"), reason


def test_uniform_over_what_is_present():
    present = torch.tensor([[True, True, False], [False, False, False]])
    assert uniform(present).tolist() == [[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]


def test_hooks_are_named_by_what_a_method_overrides():
    hooks = {name: method.hook() for name, method in METHODS.items()}
    assert hooks["average"] == "none" and hooks["base"] == "fit"
    assert hooks["random_teacher"] == "rows" and hooks["single_teacher"] == "select"
    assert hooks["compact_authors"] == "loss + backward"
