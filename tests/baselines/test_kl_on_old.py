"""The divergence on old texts by its definition, its ends, and what is counted."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import kl_div, log_softmax

from compact_bench.api import Run
from compact_bench.methods.registry import load
from compact_bench_baselines.average import Average
from tests.baselines.test_rehearsal import COUNT, old_bank
from tests.trainers import assert_resumes, run, student, trainer

METHOD = load().methods["kl_on_old"]


def made(beta: float = 1.0, **arguments):
    one = trainer(METHOD(METHOD.Config(beta=beta)), **arguments)
    one.old = old_bank
    return one


def fitted(one):
    one.distiller.fit(one)
    return one


def distributions(model, prompt: list[int], text: list[int]):
    logits = model(torch.tensor([prompt + text])).logits[0, len(prompt) - 1 : -1]
    return log_softmax(logits / 2.0, -1)  # temperature 2


@pytest.mark.parametrize("lora", [False, True])
def test_the_term_is_the_mean_kl_on_old_texts_at_temperature_2(lora):
    one, base = fitted(made(lora=lora)), student(lora)
    batch, drawn = next(one.batches()), []
    method = one.distiller
    old_batch = method.old_batch
    method.old_batch = lambda draw, size: drawn.append(old_batch(draw, size)) or drawn[-1]
    step, plain = method.loss(one.student, batch), Average().loss(one.student, batch)
    (old,) = drawn
    assert len(old.questions) == len(batch.questions)
    terms = []
    with torch.no_grad():
        for prompt, (text,) in zip(old.prompt_ids, old.rationale_ids, strict=True):
            p, q = (distributions(s.causal, prompt, text) for s in (base, one.student))
            terms.append(kl_div(q, p, log_target=True, reduction="none").sum(-1).mean())
    expected = float(torch.stack(terms).mean())
    assert expected > 1e-4
    assert step.logs["kl_on_old"] == pytest.approx(expected, rel=1e-2)
    assert float((step.loss - plain.loss).detach()) == pytest.approx(expected, rel=1e-2)


def test_the_more_it_weighs_the_less_old_predictions_move():
    def divergence(beta):
        one = fitted(made(beta, epochs=4))
        batch = next(one.batches())
        return one.distiller.loss(one.student, batch).logs["kl_on_old"]

    assert 0 < divergence(30.0) < 0.7 * divergence(0.0)


def test_beta_of_0_trains_as_the_average_does_and_old_tokens_are_no_teachers():
    one, plain = fitted(made(0.0)), trainer(Average())
    expected = run(plain)
    found = one.student.state_dict()
    assert all(torch.allclose(found[name], expected[name], atol=1e-5) for name in expected)
    assert one.student.cost.teacher_tokens == plain.student.cost.teacher_tokens
    assert one.student.cost.tokens > plain.student.cost.tokens


def test_an_interrupted_run_is_held_to_the_same_start(tmp_path):
    assert_resumes(lambda folder: made(folder=folder), fitted, tmp_path, 6)


def test_it_skips_where_nothing_old_is_at_hand():
    nothing = Run(SimpleNamespace(questions=range(4)), ("a",), None, None)
    assert "no examples" in METHOD().skip(nothing)
    assert METHOD().skip(Run(nothing.bank, ("a",), None, None, old=COUNT)) is None
