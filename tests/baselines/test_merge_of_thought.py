"""Merge-of-Thought: branches and merges written out, budgets, resuming."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from compact_bench.api import Run
from compact_bench.methods.registry import load
from compact_bench_baselines.average import Average
from tests.trainers import assert_resumes, run, same, spec, trainer

MOT = load().methods["merge_of_thought"]


def make(rounds: int = 2, budget: str = "matched"):
    return MOT(MOT.Config(rounds=rounds, budget=budget))


def fitted(method, **arguments):
    made = trainer(method, **arguments)
    made.distiller.fit(made)
    return made


def written_out(rounds: int, parts):
    """The procedure, each branch a trainer of its own."""
    start = trainer().student.state_dict()
    for t in range(rounds):
        ends = []
        for k in range(2):
            branch = trainer(Average())
            branch.student.load_state_dict(start)
            branch.run(branch.distiller, part=parts[t][k], teacher=k)
            ends.append(branch.student.state_dict())
        start = {name: (ends[0][name] + ends[1][name]) / 2 for name in start}
    return start


@pytest.mark.parametrize(
    ("budget", "parts"),
    [
        ("matched", [[(0, 0.25), (0.25, 0.5)], [(0.5, 0.75), (0.75, 1)]]),
        ("own", [[(0, 0.5), (0, 0.5)], [(0.5, 1), (0.5, 1)]]),
    ],
)
def test_each_round_is_the_mean_of_branches_from_the_last(budget, parts):
    assert make(2, budget).parts(2) == parts
    found, expected = fitted(make(2, budget)).student.state_dict(), written_out(2, parts)
    assert all(torch.allclose(found[name], expected[name], atol=1e-7) for name in expected)


@pytest.mark.parametrize(("rounds", "branches"), [(1, 3), (4, 2), (3, 5)])
def test_matched_parts_join_from_0_to_1(rounds, branches):
    parts = [part for row in make(rounds).parts(branches) for part in row]
    assert len(parts) == rounds * branches
    assert parts[0][0] == 0 and parts[-1][1] == 1
    assert all(a[1] == b[0] for a, b in pairwise(parts))


@pytest.mark.parametrize(("budget", "steps"), [("matched", 8), ("own", 16)])
def test_the_budget_is_kept(budget, steps):
    made, other = fitted(make(3, budget)), trainer()
    run(other)
    assert made.position.run == steps
    # The matched one reads half of what the average reads: one of two teachers at a time.
    by_teacher = pd.DataFrame(made.records).groupby("teacher")["rationale_tokens"].count()
    assert by_teacher.sum() == steps // 8 * 14
    if budget == "own":
        assert by_teacher.tolist() == [14, 14]
        assert made.student.cost.tokens == other.student.cost.tokens


def test_one_round_is_the_soup():
    soup = load().methods["adapter_soup"]()
    assert same(fitted(make(1)).student.state_dict(), fitted(soup).student.state_dict())


@pytest.mark.parametrize("budget", ["matched", "own"])
@pytest.mark.parametrize("stop_at", [1, 2, 3, 5, 8])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path, stop_at, budget):
    def fit(made):
        made.distiller.fit(made)

    assert_resumes(lambda folder: trainer(make(2, budget), folder=folder), fit, tmp_path, stop_at)


def test_it_skips_where_a_branch_would_train_nothing():
    bank = SimpleNamespace(questions=range(10))
    few = Run(bank, ("a", "b"), None, spec(epochs=1, batch_size=2))
    assert "6 branches for 5 optimizer steps" in make(3).skip(few)
    assert make(2).skip(few) is None
    assert make(5, "own").skip(few) is None
    assert "6 branches" in make(6, "own").skip(few)
