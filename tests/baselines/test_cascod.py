"""Rationale and answer as two parts, against the model's own forward on each row alone."""

from __future__ import annotations

import pytest
import torch

from compact_bench.api import Decoding
from compact_bench.methods.registry import load
from tests.models import make_batch, make_student, row_alone

METHOD = load().methods["cascod"]


def part_losses(student, batch, b, r):
    """NLL of the rationale, and of the gold answer after it."""
    encoder, prompt = student.encoder, batch.prompt_ids[b]
    body = batch.rationale_ids[b][r][: batch.body_end[b][r]]
    cue = encoder.ids(" The answer is")
    rationale = row_alone(student, prompt, body + encoder.eos)
    return rationale, row_alone(student, prompt + body + cue, batch.answer_ids[b] + encoder.eos)


@pytest.mark.parametrize("alpha", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("rows", [[[1, 1, 1], [1, 1, 0]], [[0, 1, 0], [1, 0, 0]]])
def test_the_loss_is_that_of_the_rows_alone(alpha, rows):
    student = make_student("llama", "shared")
    batch = make_batch(student.tokenizer).restrict(torch.tensor(rows, dtype=torch.bool))
    by_question = []
    for b in range(2):
        losses = [part_losses(student, batch, b, r) for r in range(3) if batch.present[b, r]]
        both = [(1 - alpha) * rationale + alpha * answer for rationale, answer in losses]
        by_question.append(sum(both) / len(both))
    step = METHOD(METHOD.Config(alpha=alpha)).loss(student, batch)
    assert float(step.loss.detach()) == pytest.approx(sum(by_question) / 2, abs=1e-5)


def test_the_gold_answer_follows_a_wrong_rationale():
    """The second question's gold answer is 2; teacher b of the first says 13 and gold is 12."""
    student = make_student("llama", "padded")
    batch = make_batch(student.tokenizer)
    only = batch.restrict(torch.tensor([[False, True, False], [False, False, False]])).single(0)
    step = METHOD(METHOD.Config(alpha=1.0)).loss(student, only)
    _, gold = part_losses(student, batch, 0, 1)
    assert float(step.loss.detach()) == pytest.approx(gold, abs=1e-5)
    assert step.logs["answer_nll"] == pytest.approx(gold, abs=1e-5)


def test_the_answer_has_a_pass_of_its_own():
    assert METHOD().decoding() == Decoding(passes=2)
