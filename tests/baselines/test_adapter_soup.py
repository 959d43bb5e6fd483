"""The soup: the mean of branches that are the single teachers' rows, at two budgets."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from compact_bench.api import Run
from compact_bench.methods.registry import load
from compact_bench.student.encode import of_teacher
from compact_bench_baselines.average import Average
from tests.trainers import assert_resumes, run, spec, trainer

SOUP = load().methods["adapter_soup"]


def make(budget: str = "matched"):
    return SOUP(SOUP.Config(budget=budget))


def fitted(method, **arguments):
    made = trainer(method, **arguments)
    made.distiller.fit(made)
    return made


def alone(k: int, **arguments):
    """The row of teacher k by itself, as the bank of one teacher gives it."""
    made = trainer(Average(), **arguments)
    made.examples = made.reading = [
        replace(e, rationales=tuple(replace(r, teacher=0) for r in e.rationales))
        for e in of_teacher(made.examples, k)
    ]
    return run(made)


@pytest.mark.parametrize("lora", [False, True])
def test_at_its_own_budget_it_is_the_mean_of_the_single_teachers_rows(lora):
    made = fitted(make("own"), lora=lora)
    ends = [alone(k, lora=lora) for k in range(2)]
    found = made.student.state_dict()
    for name, value in found.items():
        assert torch.allclose(value, (ends[0][name] + ends[1][name]) / 2, atol=1e-7), name
    assert made.position.run == 2 * 8
    other = trainer()
    run(other)
    assert made.student.cost.tokens == other.student.cost.tokens


def test_at_the_matched_budget_it_takes_the_steps_of_another_row_in_its_order():
    made, other = fitted(make()), trainer()
    run(other)
    assert made.position.run == other.position.run == 8
    orders = [
        pd.DataFrame(one.records).groupby("step")["question_id"].unique().map(tuple).tolist()
        for one in (made, other)
    ]
    assert orders[0] == orders[1]
    frame = pd.DataFrame(made.records)
    assert set(frame.loc[frame["step"] <= 4, "teacher"]) == {"a"}
    assert set(frame.loc[frame["step"] > 4, "teacher"]) == {"b"}


@pytest.mark.parametrize("stop_at", range(1, 9))
def test_an_interrupted_soup_ends_as_an_uninterrupted_one(tmp_path, stop_at):
    def fit(made):
        made.distiller.fit(made)

    assert_resumes(lambda folder: trainer(make(), folder=folder), fit, tmp_path, stop_at)


def test_it_skips_where_a_branch_would_train_nothing():
    bank = SimpleNamespace(questions=range(4))
    few = Run(bank, ("a", "b", "c"), None, spec(epochs=1, batch_size=2))
    assert few.steps == 2
    assert "3 branches for 2 optimizer steps" in make().skip(few)
    assert make("own").skip(few) is None
    assert make().skip(replace(few, training=spec(epochs=2, batch_size=2))) is None
    assert make().skip(replace(few, training=spec(epochs=1, batch_size=2, max_flops=1e9))) is None
