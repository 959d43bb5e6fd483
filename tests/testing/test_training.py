"""Training: every check fails for a method that breaks what it checks, and says how."""

from __future__ import annotations

import random
from typing import Any, ClassVar

import pytest
import torch

from compact_bench.api import Step
from compact_bench.testing.workbench import bank
from tests.testing.methods import Sound, run_check


class NoGradient(Sound):
    """Leaves no gradient."""

    def backward(self, student, batch):
        return self.loss(student, batch)


class NaNGradient(Sound):
    """Divides 0 by 0 in the backward pass: the loss is fine, its gradient is not."""

    def loss(self, student, batch):
        step = super().loss(student, batch)
        zero = step.loss - step.loss
        return Step(step.loss + torch.sqrt(zero), step.weights, step.nll)


class NeverTrains(Sound):
    """Forgets to call the trainer."""

    def fit(self, trainer):
        pass


class SumsToTwo(Sound):
    """Weights that don't sum to 1."""

    def weights(self, out, batch):
        return 2 * super().weights(out, batch)


class ForgetsAQuestion(Sound):
    """Reads a question and gives none of its rationales any weight."""

    def weights(self, out, batch):
        first = min(batch.question_id)
        return super().weights(out, batch) * torch.tensor([[q != first] for q in batch.question_id])


class AttachedWeights(Sound):
    """Weights that the gradient flows through."""

    def loss(self, student, batch):
        out = student.forward(batch)
        weights = torch.softmax(out.nll.masked_fill(~batch.present, -torch.inf), dim=-1)
        return Step((weights * out.nll).sum(-1).mean(), weights, out.nll.detach())


class WeighsTheAbsent(Sound):
    """Divides by all slots, absent ones too."""

    def loss(self, student, batch):
        out = student.forward(batch)
        weights = torch.full_like(out.nll, 1 / out.nll.shape[1]).detach()
        return Step((weights * out.nll).sum(-1).mean(), weights, out.nll.detach())


class HalfForTheOnly(Sound):
    """Keeps a part of the weight back where there is one rationale."""

    def weights(self, out, batch):
        weights = super().weights(out, batch)
        return torch.where(batch.present.sum(-1, keepdim=True) == 1, 0.5, 1.0) * weights


class PutsTheRestElsewhere(HalfForTheOnly):
    """Gives a part of the only rationale's weight to one that is absent."""

    def weights(self, out, batch):
        weights = super().weights(out, batch)
        rest = 1 - weights.sum(-1, keepdim=True)
        absent = (~batch.present).to(weights)
        return weights + rest * absent / absent.sum(-1, keepdim=True).clamp_min(1)


class LooksAtTheAbsent(Sound):
    """Weighs by the longest text of all slots, absent ones too: a mean over slots."""

    def loss(self, student, batch):
        step = super().loss(student, batch)
        slots = batch.teacher.shape[1]
        return Step(step.loss * slots / 4, step.weights, step.nll)


class FirstCountsMore(Sound):
    """Depends on the order of the rationales."""

    def weights(self, out, batch):
        places = batch.present * torch.arange(batch.teacher.shape[1], 0, -1)
        return places / places.sum(-1, keepdim=True)


class PaddedCountsMore(Sound):
    """Depends on the layout of the batch."""

    def loss(self, student, batch):
        step = super().loss(student, batch)
        factor = 2 if student.layout == "padded" else 1
        return Step(step.loss * factor, step.weights, step.nll)


class DrawsFromTorch(Sound):
    """Draws from the global random state."""

    def rows(self, batch):
        torch.rand(())
        return batch.present


class DrawsFromPython(Sound):
    """Draws from Python's global random state, when it selects."""

    def select(self, bank, student):
        random.random()
        return super().select(bank, student)


class DrawsFromTheSystem(Sound):
    """Draws from a source that no seed fixes."""

    def weights(self, out, batch):
        draw = torch.rand(batch.teacher.shape, generator=torch.Generator().manual_seed(unseeded()))
        draw = draw * batch.present
        return draw / draw.sum(-1, keepdim=True)


class SeededUnsaid(Sound):
    """Says that nothing in it is random, and follows the seed."""

    seeded = False

    def weights(self, out, batch):
        draw = torch.rand(batch.teacher.shape, generator=batch.generator) * batch.present
        return draw / draw.sum(-1, keepdim=True)


class ReadsPastTheStudent(Sound):
    """Asks the model itself."""

    def loss(self, student, batch):
        with torch.no_grad():
            student.causal(torch.tensor([batch.prompt_ids[0]]))
        return super().loss(student, batch)


class WritesPastTheStudent(Sound):
    """Lets the model write before training, uncounted."""

    def select(self, bank, student):
        ids = torch.tensor([student.encoder.prompt("What?")])
        student.model.generate(ids, max_new_tokens=2, do_sample=False)
        return super().select(bank, student)


class ForgetsItsState(Sound):
    """Remembers past losses, and not in its checkpoint."""

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.seen = 0.0

    def loss(self, student, batch):
        step = super().loss(student, batch)
        self.seen += float(step.loss.detach())
        return Step(step.loss * (1 + self.seen), step.weights, step.nll)


class SwallowsInterruptions(Sound):
    """Can't be stopped."""

    def fit(self, trainer):
        try:
            trainer.run(self)
        except BaseException:
            return


def unseeded() -> int:
    return random.SystemRandom().getrandbits(32)


# check, a method that breaks what it checks, a part of the message
BROKEN = [
    ("gradient", NoGradient, "expected a gradient in the student's parameters, got 0 everywhere"),
    ("gradient", NaNGradient, "Diverged: the gradient's norm is nan at step 1"),
    ("gradient", NeverTrains, "expected training steps, got none"),
    ("weights", SumsToTwo, r"sound: step 1: the weights .* sum to 2; expected finite weights"),
    ("weights", ForgetsAQuestion, r"sum to 1 over what is present, got the sums \[.*0.*\]"),
    ("weights", AttachedWeights, "expected detached weights"),
    ("weights", WeighsTheAbsent, "expected weights that sum to 1"),
    ("one_rationale", HalfForTheOnly, r"the weights .* sum to 0.5; expected finite weights"),
    ("one_rationale", PutsTheRestElsewhere, r"expected weights \[\[1, 0, .* got \[\[0.5, "),
    ("missing_teachers", WeighsTheAbsent, r"expected weight 0 for absent rationales, got \[0\.2"),
    ("missing_teachers", LooksAtTheAbsent, "with one more absent rationale: expected the loss"),
    ("permutation", FirstCountsMore, r"step 1, .* in another order: expected the "),
    ("layouts", PaddedCountsMore, "in the padded layout: expected the loss"),
    ("cost", ReadsPastTheStudent, r"got \d+ tokens that it read past it"),
    ("cost", WritesPastTheStudent, r"got \d+ tokens that it read past it"),
    ("random_state", DrawsFromTorch, "to be left alone, got draws from torch"),
    ("random_state", DrawsFromPython, "to be left alone, got draws from python"),
    ("repetition", DrawsFromTheSystem, "with the same seed: expected the same trained parameters"),
    ("repetition", SeededUnsaid, r"with another seed \(seeded = False\): expected the same"),
    ("resume", ForgetsItsState, "gone on: expected the same trained parameters"),
    ("resume", SwallowsInterruptions, "expected an interruption after step 3 to end it"),
]


@pytest.mark.parametrize(
    ("name", "method", "message"), BROKEN, ids=[f"{row[0]}-{row[1].__name__}" for row in BROKEN]
)
def test_a_broken_method_fails_the_check(name, method, message):
    with pytest.raises(AssertionError, match=message):
        run_check(name, method)


def test_a_check_that_does_not_apply_says_why():
    class Draws(Sound):
        """Draws its weights."""

        exempt: ClassVar = {"layouts": "a reason of its own"}

        def weights(self, out, batch):
            draw = torch.rand(batch.teacher.shape, generator=batch.generator) * batch.present
            return draw / draw.sum(-1, keepdim=True)

    assert run_check("permutation", Draws).startswith("not applicable: it draws from the batch's")
    assert run_check("layouts", Draws) == "not applicable: a reason of its own"


def test_what_goes_through_the_student_is_counted():
    class Asks(Sound):
        """Samples, asks a teacher, and the student before training."""

        def fit(self, trainer):
            trainer.student.attach_start()
            trainer.student.attach_teachers({"copy": trainer.student.frozen_copy()})
            trainer.run(self)

        def loss(self, student, batch):
            own = student.sample(batch, n=2, max_new_tokens=4)
            student.teacher_forward("copy", own.batch)
            student.forward(own.batch, needs={"start_token_nll"})
            return super().loss(student, batch)

    assert run_check("cost", Asks) == ""


def test_questions_may_be_left_out_of_a_step():
    class OneOfThem(Sound):
        """Reads a question of the bank in one epoch alone."""

        def rows(self, batch):
            first = min(bank().questions["question_id"])
            due = torch.tensor([name != first or batch.epoch == 0 for name in batch.question_id])
            return batch.present & due[:, None]

    for check in ("weights", "one_rationale", "missing_teachers", "permutation", "repetition"):
        assert run_check(check, OneOfThem) == ""


def test_the_checks_leave_the_global_random_state_alone():
    before = torch.get_rng_state(), random.getstate()
    for method in (DrawsFromTorch, DrawsFromPython):
        with pytest.raises(AssertionError, match="global random state"):
            run_check("random_state", method)
    assert torch.equal(torch.get_rng_state(), before[0]) and random.getstate() == before[1]
