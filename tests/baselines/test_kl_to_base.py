"""The divergence from the student before training: by its definition, at its ends, in both kinds
of training."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import kl_div, log_softmax

from compact_bench.methods.registry import load
from compact_bench_baselines.average import Average
from tests.models import make_batch, make_student
from tests.trainers import run, same, student, trainer

KL = load().methods["kl_to_base"]


def make(beta: float):
    return KL(KL.Config(beta=beta))


def flat(made):
    return torch.cat([p.grad.flatten() for p in made.trainable().values()])


def logits_of(model, batch, b: int, r: int):
    ids = batch.prompt_ids[b] + batch.rationale_ids[b][r]
    return model(torch.tensor([ids])).logits[0, len(batch.prompt_ids[b]) - 1 : -1]


@pytest.mark.parametrize("layout", ["padded", "shared"])
def test_the_term_is_the_mean_kl_over_target_tokens(layout):
    made = make_student("llama", layout)
    batch = make_batch(made.tokenizer)
    made.attach_start()
    base = make_student("llama", "padded").causal
    with torch.no_grad():
        for parameter in made.trainable().values():
            parameter.add_(0.05 * torch.sign(parameter))
    step, plain = make(0.5).loss(made, batch), Average().loss(made, batch)
    expected = []
    for b, rows in enumerate(batch.present.tolist()):
        values = [
            kl_div(
                log_softmax(logits_of(made.causal, batch, b, r), -1),
                log_softmax(logits_of(base, batch, b, r), -1),
                log_target=True,
                reduction="none",
            )
            .sum(-1)
            .mean()
            for r, here in enumerate(rows)
            if here
        ]
        expected.append(torch.stack(values).mean())
    mean = float(torch.stack(expected).mean())
    assert mean > 1e-3
    assert step.logs["kl_to_base"] == pytest.approx(mean, rel=1e-3)
    gap = float((step.loss - plain.loss).detach())
    assert gap == pytest.approx(0.5 * mean, rel=1e-3)


@pytest.mark.parametrize("lora", [False, True])
def test_before_training_it_is_nothing_and_has_no_gradient(lora):
    gradients = []
    for method in (make(3.0), Average()):
        made = student(lora)
        made.attach_start()
        step = method.backward(made, make_batch(made.tokenizer))
        gradients.append(flat(made))
    assert torch.allclose(*gradients, atol=1e-5)
    assert step.weights is not None


@pytest.mark.parametrize("lora", [False, True])
def test_the_more_it_weighs_the_less_the_student_moves(lora):
    def divergence(beta):
        made = trainer(make(beta), lora=lora, epochs=4)
        made.distiller.fit(made)
        batch = next(made.batches())
        return made.distiller.loss(made.student, batch).logs["kl_to_base"]

    free, held = divergence(0.0), divergence(10.0)
    assert 0 < held < 0.7 * free


def test_beta_of_0_is_the_average():
    held, plain = trainer(make(0.0)), trainer(Average())
    held.distiller.fit(held)
    expected = run(plain)
    found = held.student.state_dict()
    assert all(torch.allclose(found[name], expected[name], atol=1e-5) for name in expected)
    assert held.student.cost.flops == pytest.approx(plain.student.cost.flops * 8 / 6)


@pytest.mark.parametrize("lora", [False, True])
def test_an_interrupted_run_is_held_to_the_same_start(tmp_path, lora):
    whole = trainer(make(1.0), lora=lora)
    whole.distiller.fit(whole)
    first = trainer(make(1.0), folder=tmp_path, lora=lora)
    first.progress = lambda event: (
        (_ for _ in ()).throw(KeyboardInterrupt) if event["step"] == 6 else None
    )
    with pytest.raises(KeyboardInterrupt):
        first.distiller.fit(first)
    second = trainer(make(1.0), folder=tmp_path, lora=lora)
    second.distiller.fit(second)
    assert same(second.student.state_dict(), whole.student.state_dict())
