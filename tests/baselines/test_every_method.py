"""What holds for every method, whichever are registered."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from compact_bench.api import Distiller, FromRecorded, uniform
from compact_bench.recorded import RecordedWeights
from compact_bench.registry import load
from tests.student.test_layouts import make_batch, make_student

METHODS = load().methods
# `mentor_kd` can't make a step without a mentor model: tests/baselines/test_mentor_kd.py trains it.
TRAINED = sorted(n for n, method in METHODS.items() if method.seeded and n != "mentor_kd")


def make(name: str) -> Distiller:
    method = METHODS[name]
    return method(method.variants(method.Config(), ["a", "b", "c"])[0])


class NoTraining:
    """A trainer whose `run` does nothing: what `fit` prepares before it is then ready."""

    teachers = ("a", "b", "c")
    seed = 0

    def __init__(self, student) -> None:
        self.student = student

    def recorded_weights(self, run_id: str) -> RecordedWeights:
        """Unequal weights for the first step on the batch."""
        batch = make_batch(self.student.tokenizer)
        rows = [
            {"step": 1, "epoch": 0, "question_id": batch.question_id[b], "sample": 0}
            | {"teacher": self.teachers[int(batch.teacher[b, r])], "weight": 0.5 if r else 0.25}
            for b, r in batch.present.nonzero().tolist()
        ]
        frame = pd.DataFrame(rows)
        total = frame.groupby("question_id")["weight"].transform("sum")
        return RecordedWeights(run_id, frame.assign(weight=frame["weight"] / total))

    def batches(self):
        yield make_batch(self.student.tokenizer)

    def dev_score(self, by, questions) -> float:
        return 0.0

    def old_batch(self, generator, size):
        batch = make_batch(self.student.tokenizer)
        return batch.restrict(batch.teacher == 1)

    def spent(self) -> float:
        return 0.0

    def record(self, batch, step) -> None:
        pass

    def run(self, distiller, **arguments) -> None:
        pass


def ready(name: str, student) -> Distiller:
    method = make(name)
    method.fit(NoTraining(student))
    return method


@pytest.mark.parametrize("name", sorted(METHODS))
def test_it_says_what_it_is(name):
    method = METHODS[name]
    assert method.name == name and method.version >= 1
    assert method.__doc__ and method.reference
    assert method.reference == "none" or method.bibtex.startswith("@")
    config = make(name).config
    assert method.Config.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("layout", ["padded", "shared"])
def test_a_step_leaves_a_finite_gradient_and_weights_that_sum_to_one(name, layout):
    student = make_student("llama", layout)
    step = ready(name, student).backward(student, make_batch(student.tokenizer))
    gradient = torch.cat([p.grad.flatten() for p in student.trainable().values()])
    assert gradient.isfinite().all() and gradient.abs().max() > 0
    if step.weights is not None:
        present = make_batch(student.tokenizer).present
        assert torch.allclose(step.weights.sum(-1), torch.ones(2))
        assert (step.weights[~present] == 0).all()
        assert not step.weights.requires_grad


@pytest.mark.parametrize("name", TRAINED)
def test_both_layouts_give_the_same_loss(name):
    losses = []
    for layout in ("padded", "shared"):
        student = make_student("llama", layout)
        step = ready(name, student).backward(student, make_batch(student.tokenizer))
        losses.append(float(step.loss.detach()))
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


@pytest.mark.parametrize("name", TRAINED)
def test_the_global_random_state_is_left_alone(name):
    student = make_student("llama", "shared")
    batch = make_batch(student.tokenizer)
    before = torch.get_rng_state()
    ready(name, student).backward(student, batch)
    assert torch.equal(before, torch.get_rng_state())


# What was recorded is of all rationales that were read then, not of the one that is left.
@pytest.mark.parametrize("name", [n for n in TRAINED if not issubclass(METHODS[n], FromRecorded)])
def test_one_rationale_has_all_the_weight(name):
    student = make_student("llama", "shared")
    batch = make_batch(student.tokenizer)
    only = torch.tensor([[False, True, False], [True, False, False]])
    step = ready(name, student).backward(student, batch.restrict(only))
    if step.weights is not None:
        assert torch.equal(step.weights > 0, only)
        assert torch.allclose(step.weights[only], torch.ones(2))


def test_uniform_over_what_is_present():
    present = torch.tensor([[True, True, False], [False, False, False]])
    assert uniform(present).tolist() == [[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]


def test_hooks_are_named_by_what_a_method_overrides():
    hooks = {name: method.hook() for name, method in METHODS.items()}
    assert hooks["average"] == "none" and hooks["base"] == "fit"
    assert hooks["random_teacher"] == "rows" and hooks["single_teacher"] == "select"
    assert hooks["compact_authors"] == "loss"
