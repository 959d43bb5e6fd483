"""The choice of whom to leave out: who is read, what is kept, what is spent."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from compact_bench.methods.registry import load
from compact_bench_baselines.average import Average
from tests.baselines.test_adapter_soup import alone
from tests.baselines.test_best_teacher import Dev
from tests.models import make_batch, make_student
from tests.trainers import run, same, trainer

METHOD = load().methods["best_subset"]


def fitted(budget: str, *scores, **arguments):
    made = trainer(METHOD(METHOD.Config(budget=budget)), **arguments)
    made.dev = Dev(*scores)
    made.distiller.fit(made)
    return made


def test_with_two_teachers_the_branches_are_the_average_and_each_teacher():
    """Whoever of two is left out, the other's row remains."""
    expected = [run(trainer(Average())), alone(1), alone(0)]
    for best in range(3):
        scores = [0.1, 0.1, 0.1]
        scores[best] = 0.5
        found = fitted("own", *scores).student.state_dict()
        for name, value in expected[best].items():
            assert torch.allclose(found[name], value, atol=1e-6), (best, name)


@pytest.mark.parametrize("lora", [False, True])
def test_a_matched_budget_trains_the_winner_for_half_of_it(lora):
    made = fitted("matched", 0.1, 0.2, 0.5, lora=lora, epochs=3)
    assert made.position.run == 12
    frame = pd.DataFrame(made.records)
    assert set(frame.loc[frame["step"] > 6, "teacher"]) == {"a"}  # teacher b is left out
    assert set(frame.loc[frame["step"] <= 2, "teacher"]) == {"a", "b"}
    assert made.student.cost.selection_tokens > made.student.cost.tokens / 3


def test_a_question_keeps_its_only_rationale():
    batch = make_batch(make_student("llama", "padded").tokenizer)
    only = batch.restrict(torch.tensor([[True, True, True], [False, True, False]]))
    method = METHOD()
    assert torch.equal(method.rows(only), only.present)
    method.left_out = 1
    assert method.rows(only).tolist() == [[True, False, True], [False, True, False]]


def test_the_same_choice_gives_the_same_student():
    ends = [fitted("matched", 0.1, 0.5, 0.2, epochs=3).student.state_dict() for _ in range(2)]
    assert same(*ends)
