"""DPO: the loss from likelihoods of single rows, its stages, and what has no pair."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch

from compact_bench.methods.registry import load
from tests.models import make_batch, make_student, row_alone
from tests.trainers import assert_resumes, trainer

METHOD = load().methods["dpo"]


def make(pairs=True, **settings):
    method = METHOD(METHOD.Config(**settings))
    method.pairs = pairs
    return method


def log_likelihoods(student, batch, b):
    """Of each rationale of a question, nats, by the model's own forward on it alone."""
    rows = batch.rationale_ids[b]
    return [-len(ids) * row_alone(student, batch.prompt_ids[b], ids) for ids in rows]


@pytest.mark.parametrize("layout", ["padded", "shared"])
@pytest.mark.parametrize("beta", [0.1, 0.02])
def test_the_loss_is_the_one_of_the_paper_over_all_pairs(layout, beta):
    student = make_student("llama", layout)
    batch = make_batch(student.tokenizer)
    student.attach_start()
    before = log_likelihoods(student, batch, 0)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in student.trainable().values():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=draw))
    rewards = beta * (np.array(log_likelihoods(student, batch, 0)) - np.array(before))
    # Question 0 is right, wrong, right; question 1 has no wrong one.
    gaps = [rewards[0] - rewards[1], rewards[2] - rewards[1]]
    expected = np.mean([math.log1p(math.exp(-gap)) for gap in gaps]) / 2
    step = make(beta=beta).loss(student, batch)
    assert float(step.loss.detach()) == pytest.approx(expected, rel=1e-3)
    assert step.logs["margin"] == pytest.approx(np.mean(gaps), rel=1e-3, abs=1e-4)
    assert step.logs["preferred"] == np.mean(np.array(gaps) > 0)
    assert abs(expected - math.log(2) / 2) > 1e-3  # else nothing has moved


def test_a_step_raises_right_and_lowers_wrong_against_the_reference():
    student = make_student("llama", "shared")
    batch, method = make_batch(student.tokenizer), make()
    student.attach_start()
    step = method.backward(student, batch)
    assert float(step.loss.detach()) == pytest.approx(math.log(2) / 2, abs=1e-5)
    before = np.array(log_likelihoods(student, batch, 0))
    with torch.no_grad():
        for parameter in student.trainable().values():
            parameter.sub_(1e-4 * parameter.grad)
    change = np.array(log_likelihoods(student, batch, 0)) - before
    assert min(change[0], change[2]) > change[1]


def test_without_a_pair_nothing_is_read():
    student = make_student("llama", "shared")
    batch = make_batch(student.tokenizer).restrict(torch.tensor([[True, False, True]] * 2))
    student.attach_start()
    step = make().backward(student, batch)
    assert float(step.loss) == 0 and student.cost.tokens == 0


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_the_reference_is_the_student_after_the_first_stage(lora):
    made = trainer(make(), lora=lora)
    made.examples = wrong_second(made.examples)
    states = []
    attach = made.student.attach_start
    made.student.attach_start = lambda: states.append(made.student.state_dict()) or attach()
    made.distiller.fit(made)
    frame = pd.DataFrame(made.records)
    first, second = frame[frame["step"] <= 4], frame[frame["step"] > 4]
    assert set(first["teacher"]) == {"a"} and set(second["teacher"]) == {""}
    assert frame["step"].max() == 8
    assert len(states) == 1 and made.student.start is not made.student
    batch = next(made.batches())
    with torch.no_grad():
        found = made.student.forward(batch, needs={"start_token_nll"}).start_token_nll
        made.student.load_state_dict(states[0])
        expected = made.student.forward(batch, needs={"token_nll"}).token_nll
    assert torch.allclose(found, expected, atol=1e-5)


def wrong_second(examples):
    """Examples whose second teacher's answers are wrong."""
    from dataclasses import replace

    return [
        replace(e, rationales=(e.rationales[0], replace(e.rationales[1], answer="77")))
        for e in examples
    ]


def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path):
    def made(folder):
        one = trainer(make(), folder=folder)
        one.examples = wrong_second(one.examples)
        return one

    assert_resumes(made, lambda one: one.distiller.fit(one), tmp_path, stop_at=6)
