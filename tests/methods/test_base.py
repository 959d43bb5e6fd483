"""What every method has: hooks and their names, and what `skip` may look at."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from compact_bench.api import Distiller, FromRecorded, Run
from tests.models import make_batch, make_student


class Plain(Distiller):
    name, version, reference = "plain", 1, "none"


class Weighted(Plain):
    def rows(self, batch):
        return batch.present & (batch.teacher < 2)

    def weights(self, out, batch):
        return torch.tensor([[0.25, 0.75, 0.0], [1.0, 0.0, 0.0]])


def run_of(questions: int = 10, **training: object) -> Run:
    values = {"batch_size": 2, "accumulate": 2, "epochs": 3, "max_flops": None, "budget": "steps"}
    bank = SimpleNamespace(questions=range(questions))
    return Run(bank, ("a", "b"), None, SimpleNamespace(**(values | training)))


def test_hooks_are_named_in_their_order():
    assert Plain.hook() == "none"
    assert Weighted.hook() == "rows + weights"
    assert not Plain.answers()


def test_the_loss_is_the_weighted_sum_of_what_is_read():
    student = make_student("llama", "padded")
    batch = make_batch(student.tokenizer)
    nll = student.forward(batch).nll.detach()
    step = Weighted().loss(student, batch)
    expected = (0.25 * nll[0, 0] + 0.75 * nll[0, 1] + nll[1, 0]) / 2
    assert float(step.loss.detach()) == pytest.approx(float(expected), rel=1e-6)
    assert step.nll[0, 2] == 0  # not read
    assert not step.weights.requires_grad


def test_steps_and_budget_of_a_run():
    assert run_of().steps == 3 * 3  # 10 questions, 4 a step
    assert not run_of().by_flops
    assert run_of(max_flops=1e9).by_flops and run_of(budget="flops").by_flops


def test_recorded_weights_need_a_run_with_the_same_steps():
    method = FromRecorded(FromRecorded.Config(weights_from="abc"))
    assert FromRecorded().skip(run_of()) == "weights_from names no run"
    assert method.skip(run_of()) is None
    assert "unlike steps" in method.skip(run_of(budget="flops"))
