"""AMPO: advantages by hand, who stands in where all fail, and the step's gradient by autograd."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compact_bench.methods.registry import load
from compact_bench_baselines.ampo import advantages
from tests.models import make_batch, make_student, row_alone
from tests.trainers import trainer

METHOD = load().methods["ampo"]


def make(**settings):
    method = METHOD(METHOD.Config(**settings))
    method.writes = True
    return method


def flags(count):
    return st.lists(st.booleans(), min_size=count, max_size=count)


@given(flags(5), st.integers(0, 3))
def test_advantages_are_standard_scores_of_the_group(right, guided):
    right = torch.tensor([right])
    kept = (torch.arange(5) < 5 - guided)[None]
    guides = (torch.arange(4) < guided)[None]
    own, others = advantages(right, kept, guides)
    rewards = np.array([*right[0][: 5 - guided].tolist(), *[True] * guided], dtype=float)
    spread = rewards.std() or 1.0
    expected = (rewards - rewards.mean()) / spread if rewards.std() else 0 * rewards
    found = [*own[0][: 5 - guided].tolist(), *others[0][:guided].tolist()]
    assert found == pytest.approx(expected.tolist(), abs=1e-5)
    assert not own[~kept].any() and not others[~guides].any()


def told(student, batch, texts):
    """The student writes these."""
    own = student.batch_of(batch, texts)
    student.sample = lambda *args, **options: SimpleNamespace(batch=own)
    return own


def test_the_right_teachers_after_which_the_answer_is_likeliest_stand_in():
    student = make_student("llama", "shared")
    batch = make_batch(student.tokenizer)
    eos = student.encoder.eos
    scores = []
    for r in (0, 2):
        body = batch.rationale_ids[0][r][: batch.body_end[0][r]]
        prefix = batch.prompt_ids[0] + body + student.encoder.cue
        scores.append(row_alone(student, prefix, batch.answer_ids[0] + eos))
    better = (0, 2)[int(scores[1] < scores[0])]
    for failed in ([True, False], [True, True]):
        one = make(guides=1).guides(student, batch, torch.tensor(failed))
        assert one[0].tolist() == [r == better for r in range(3)]
        assert int(one[1].sum()) == int(failed[1])
        both = make(guides=5).guides(student, batch, torch.tensor(failed))
        assert both[0].tolist() == [True, False, True]  # the second one is wrong
    before = student.cost.tokens
    assert not make(guides=0).guides(student, batch, torch.tensor([True, True])).any()
    assert not make().guides(student, batch, torch.tensor([False, False])).any()
    assert student.cost.tokens == before


def log_p(causal, prompt, ids):
    """(T,) with gradient, by the model's own forward."""
    logits = causal(torch.tensor([prompt + ids])).logits[0].log_softmax(-1)
    return logits[len(prompt) - 1 : -1].gather(-1, torch.tensor(ids)[:, None])[:, 0]


@pytest.mark.parametrize("layout", ["padded", "shared"])
def test_the_gradient_is_that_of_the_objective(layout):
    """Question 0: all four fail, two right teachers take the places of two. Question 1: one is
    right."""
    student = make_student("llama", layout)
    batch = make_batch(student.tokenizer)
    texts = [["It is 1.", "It is 2.", "It is 3.", "It is 4."], ["It is 2.", "It is 3.", "4.", "5."]]
    own = told(student, batch, texts)
    method = make(group=4, guides=2, gamma=0.1)
    step = method.backward(student, batch)
    found = torch.cat([p.grad.flatten() for p in student.trainable().values()])

    causal, prompts = student.causal, batch.prompt_ids
    student.model.zero_grad()
    right = (1 - 0.25) / np.sqrt(0.25 * 0.75)
    wrong = -0.25 / np.sqrt(0.25 * 0.75)
    objective = 0.0
    for ids, advantage in zip(own.rationale_ids[0][:2], (-1.0, -1.0), strict=True):
        objective = objective + advantage * ratio(log_p(causal, prompts[0], ids)) / 4
    for r in (0, 2):
        p = log_p(causal, prompts[0], batch.rationale_ids[0][r]).exp()
        objective = objective + 1.0 * (p / (p + 0.1)).mean() / 4
    for ids, advantage in zip(own.rationale_ids[1], (right, wrong, wrong, wrong), strict=True):
        objective = objective + advantage * ratio(log_p(causal, prompts[1], ids)) / 4
    (-objective / 2).backward()
    expected = torch.cat([p.grad.flatten() for p in student.trainable().values()])
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-5)
    assert step.logs == {"right": pytest.approx(1 / 8), "guided": 0.5}


def ratio(log_p):
    """mean_t p / p_old, where the student hasn't changed since it wrote."""
    return (log_p - log_p.detach()).exp().mean()


def test_a_group_that_agrees_adds_nothing():
    student = make_student("llama", "shared")
    batch = make_batch(student.tokenizer)
    told(student, batch, [["It is 1.", "2."], ["It is 2.", "So 2."]])
    step = make(group=2, guides=0).backward(student, batch)
    assert float(step.loss) == 0 and student.cost.tokens == 0


def test_the_first_stage_is_the_average():
    made = trainer(make(first=0.5, group=2), epochs=2)
    made.distiller.fit(made)
    frame = pd.DataFrame(made.records)
    first = frame[frame["step"] <= 4]
    assert set(first["teacher"]) == {"a", "b"} and (first["weight"] == 0.5).all()
    assert frame.loc[frame["step"] > 4, "weight"].isna().all() and frame["step"].max() == 8


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_it_trains_and_repeats_bit_for_bit(lora):
    states = []
    for _ in range(2):
        made = trainer(make(group=3, first=0.0), lora=lora, epochs=1)
        before = made.student.state_dict()
        made.distiller.fit(made)
        states.append(made.student.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in before)
    assert any(not torch.equal(states[0][name], before[name]) for name in before)
