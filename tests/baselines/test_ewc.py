"""The penalty by a Fisher information from plain autograd, its ends, and what is read."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from compact_bench.api import Run
from compact_bench.methods.registry import load
from compact_bench_baselines.average import Average
from tests.baselines.test_rehearsal import COUNT, old_bank
from tests.methods.test_weight_space import row_gradient
from tests.trainers import assert_resumes, run, student, trainer

METHOD = load().methods["ewc"]


def made(strength: float, **arguments):
    one = trainer(METHOD(METHOD.Config(strength=strength, examples=COUNT)), **arguments)
    one.old = old_bank
    return one


def fitted(one):
    one.distiller.fit(one)
    return one


@pytest.mark.parametrize("lora", [False, True])
def test_the_penalty_is_that_of_the_old_texts_fisher(lora):
    one = fitted(made(7.0, lora=lora))
    base = student(lora)
    old = one.old_batch(torch.Generator(), COUNT)
    squares = [
        row_gradient(base, old.prompt_ids[b] + old.rationale_ids[b][0], len(old.prompt_ids[b]),
                     "sum").square()
        for b in range(COUNT)
    ]  # fmt: skip
    fisher = torch.stack(squares).mean(0)
    before, after = (
        torch.cat([v.flatten() for v in s.state_dict().values()]) for s in (base, one.student)
    )
    penalty = float((fisher * (after - before).square()).sum()) / 2
    batch = next(one.batches())
    step, plain = one.distiller.loss(one.student, batch), Average().loss(one.student, batch)
    assert penalty > 1e-3
    assert step.logs["fisher_change"] == pytest.approx(penalty, rel=1e-3)
    assert float((step.loss - plain.loss).detach()) == pytest.approx(7 * penalty, rel=1e-3)


def test_the_stronger_it_is_the_less_what_old_texts_depend_on_moves():
    def change(strength):
        one = fitted(made(strength, epochs=4))
        return one.distiller.loss(one.student, next(one.batches())).logs["fisher_change"]

    assert 0 < change(100.0) < 0.7 * change(0.0)


def test_strength_of_0_trains_as_the_average_does():
    one, plain = fitted(made(0.0)), trainer(Average())
    expected = run(plain)
    found = one.student.state_dict()
    assert all(torch.allclose(found[name], expected[name], atol=1e-5) for name in expected)
    assert one.student.cost.tokens > plain.student.cost.tokens
    assert one.student.cost.teacher_tokens == plain.student.cost.teacher_tokens


def test_an_interrupted_run_is_held_to_the_same_start(tmp_path):
    assert_resumes(lambda folder: made(50.0, folder=folder), fitted, tmp_path, 6)


def test_it_skips_where_nothing_old_is_at_hand():
    nothing = Run(SimpleNamespace(questions=range(4)), ("a",), None, None)
    assert "no examples" in METHOD().skip(nothing)
    assert METHOD().skip(Run(nothing.bank, ("a",), None, None, old=10)) is None
