"""Two tasks under two prompts, against the model's own forward on each row alone."""

from __future__ import annotations

import pytest
import torch

from compact_bench.api import Decoding
from compact_bench.methods.registry import load
from tests.models import make_batch, make_student, row_alone

METHOD = load().methods["distilling_step_by_step"]


def make(**settings):
    return METHOD(METHOD.Config(**settings))


def parts(student, batch):
    """The two tasks' losses of each question, row by row."""
    encoder = student.encoder
    predict, explain = [], []
    for b, question in enumerate(batch.questions):
        prompt = encoder.ids(f"[predict] Question: {question}\nAnswer:")
        gold = encoder.ids(" The answer is") + batch.answer_ids[b] + encoder.eos
        predict.append(row_alone(student, prompt, gold))
        prompt = encoder.ids(f"[explain] Question: {question}\nAnswer:")
        rows = [
            row_alone(student, prompt, ids[: batch.body_end[b][r]] + encoder.eos)
            for r, ids in enumerate(batch.rationale_ids[b])
            if batch.present[b, r]
        ]
        explain.append(sum(rows) / len(rows))
    return torch.tensor(predict), torch.tensor(explain)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_the_loss_is_that_of_the_rows_alone(alpha):
    student = make_student("llama", "shared")
    batch = make_batch(student.tokenizer)
    predict, explain = parts(student, batch)
    step = make(alpha=alpha).loss(student, batch)
    expected = float((alpha * predict + (1 - alpha) * explain).mean())
    assert float(step.loss.detach()) == pytest.approx(expected, abs=1e-5)
    assert step.logs["answer_nll"] == pytest.approx(float(predict.mean()), abs=1e-5)


def test_absent_rationales_are_not_read():
    student = make_student("llama", "padded")
    batch = make_batch(student.tokenizer)
    batch = batch.restrict(torch.tensor([[True, False, True], [False, True, False]]))
    predict, explain = parts(student, batch)
    loss = make(alpha=0.5).loss(student, batch).loss
    assert float(loss.detach()) == pytest.approx(float((predict + explain).mean()) / 2, abs=1e-5)


def test_either_task_can_be_asked():
    assert make().decoding() == Decoding(prompt="predict", passes=1)
    assert make(decode="explain").decoding() == Decoding(prompt="explain", passes=2)
