"""Branches from one start: what is merged, what is chosen, and when there is too little to train.

The rows that use them have tests of their own: adapter_soup, ties, best_teacher, best_subset.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from compact_bench.api import BestBranch, MergedBranches, Run
from tests.trainers import assert_resumes, spec, trainer


class Last(MergedBranches):
    """Keeps the last branch."""

    name, version, reference = "last", 1, "none"

    def merged(self, start, ends, trainer):
        self.seen = start, ends
        return ends[-1]


class Parts(BestBranch):
    """Branches that differ in how they are seeded alone."""

    name, version, reference = "parts", 1, "none"

    def branches(self, teachers):
        return 3

    def train(self, trainer, branch, stage, part):
        self.calls = [*getattr(self, "calls", []), (branch, stage, part)]


def test_branches_begin_alike_and_come_in_the_teachers_order():
    made = trainer(Last(Last.Config(budget="own")))
    before = made.student.state_dict()
    made.distiller.fit(made)
    start, ends = made.distiller.seen
    assert all(torch.equal(start[name], before[name]) for name in before)
    alone = trainer(Last())
    alone.run(alone.distiller, teacher=0)
    first = alone.student.state_dict()
    assert len(ends) == 2
    assert all(torch.equal(ends[0][name], first[name]) for name in first)
    found = made.student.state_dict()
    assert all(torch.equal(found[name], ends[1][name]) for name in found)


@pytest.mark.parametrize("stop_at", [3, 6])
def test_interrupted_branches_go_on(tmp_path, stop_at):
    def fit(made):
        made.distiller.fit(made)

    assert_resumes(lambda folder: trainer(Last(), folder=folder), fit, tmp_path, stop_at)


def test_choosing_takes_half_of_the_budget():
    method = Parts()
    scores = iter([0.1, 0.3, 0.3])
    student = SimpleNamespace(
        state_dict=dict,
        load_state_dict=lambda state: None,
        cost=SimpleNamespace(tokens=0, discard=lambda tokens: None),
    )
    method.fit(
        SimpleNamespace(
            student=student, teachers=("a", "b"), dev_score=lambda by, questions: next(scores)
        )
    )
    thirds = [(0, 1 / 6), (1 / 6, 2 / 6), (2 / 6, 3 / 6)]
    expected = [(k, f"branch-{k}", pytest.approx(part)) for k, part in enumerate(thirds)]
    assert method.calls == [*expected, (1, "winner", (0.5, 1.0))]  # the first of the best


def test_too_few_steps_are_a_reason_to_skip():
    run = Run(SimpleNamespace(questions=range(5)), ("a", "b"), None, spec(epochs=1, batch_size=1))
    assert run.steps == 5
    assert Parts().skip(run) == "no dev question to choose by"
    run = Run(run.bank, run.teachers, None, run.training, dev=3)
    assert Parts().skip(run) == "choosing among 3 branches takes 6 optimizer steps, there are 5"
    assert Parts(Parts.Config(budget="own")).skip(run) is None
    assert Last().skip(run) is None
