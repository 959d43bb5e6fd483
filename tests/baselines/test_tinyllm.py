"""The answer and each teacher's rationale under its mark, against each row alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from compact_bench.api import Decoding
from compact_bench.methods.registry import load
from tests.models import make_batch, make_student, row_alone

METHOD = load().methods["tinyllm"]


def by_hand(student, batch, answer_weight, rationale_weight):
    encoder = student.encoder
    total = 0.0
    for b, question in enumerate(batch.questions):
        gold = encoder.ids(" The answer is") + batch.answer_ids[b] + encoder.eos
        total += answer_weight * row_alone(student, batch.prompt_ids[b], gold)
        rows = []
        for r, ids in enumerate(batch.rationale_ids[b]):
            if batch.present[b, r]:
                prompt = encoder.ids(f"[{'abc'[r]}] Question: {question}\nAnswer:")
                target = ids[: batch.body_end[b][r]] + encoder.eos
                rows.append(row_alone(student, prompt, target))
        total += rationale_weight * sum(rows)
    return total / len(batch.questions)


@pytest.mark.parametrize(("gamma", "share"), [(1.0, 1.0), (0.0, 2.0), (0.5, 0.0)])
@pytest.mark.parametrize("rows", [[[1, 1, 1], [1, 1, 0]], [[0, 0, 1], [0, 1, 0]]])
def test_the_loss_is_that_of_the_rows_alone(gamma, share, rows):
    student = make_student("llama", "shared")
    batch = make_batch(student.tokenizer).restrict(torch.tensor(rows, dtype=torch.bool))
    method = METHOD(METHOD.Config(answer_weight=gamma, rationale_weight=share))
    loss = float(method.loss(student, batch).loss.detach())
    assert loss == pytest.approx(by_hand(student, batch, gamma, share), abs=1e-5)


def test_several_rationales_of_a_teacher_count_as_one_teacher():
    student = make_student("llama", "padded")
    batch = make_batch(student.tokenizer).single(0)
    nll = student.forward(batch, target="rationale", prompt="teacher").nll.detach()[0]
    twice = replace(batch, teacher=torch.tensor([[0, 1, 1]]), sample=torch.tensor([[0, 0, 1]]))
    marked = student.forward(twice, target="rationale", prompt="teacher").nll.detach()[0]
    method = METHOD(METHOD.Config(answer_weight=0))
    for asked, found, teachers in ((batch, nll, 3), (twice, marked, 2)):
        loss = float(method.loss(student, asked).loss.detach())
        assert loss == pytest.approx(teachers * float(found.mean()), abs=1e-5)


def test_the_student_answers_at_once_without_a_mark():
    assert METHOD().decoding() == Decoding()
