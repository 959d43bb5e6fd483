"""Probes on the cache, and which steps are open."""

from __future__ import annotations

import pytest
import torch

from compact_bench.student.answer_gain import asked_steps
from compact_bench.student.layouts import TokenRow
from tests.models import KINDS, make_batch, make_student, row_alone


@pytest.mark.parametrize("kind", KINDS)
def test_answer_gain_is_that_of_separate_forwards(kind):
    """Probes on the cache equal the answer's log-probability after a text written out."""
    gains = {}
    for layout in ("padded", "shared"):
        student = make_student(kind, layout)
        batch = make_batch(student.tokenizer)
        gains[layout] = student.forward(batch, needs={"answer_gain"}).answer_gain
    assert torch.allclose(gains["padded"], gains["shared"], atol=1e-4, equal_nan=True)
    cue, gold = student.encoder.cue, batch.answer_ids[0]
    # Question 0, teacher 1: both steps are open, neither holds "12" or "13".
    ids, (first, second) = batch.rationale_ids[0][1], batch.step_ends[0][1][:2]
    value = [
        -row_alone(student, batch.prompt_ids[0] + ids[:end] + cue, gold)
        for end in (0, first, second)
    ]
    expected = [value[1] - value[0], value[2] - value[1]]
    assert gains["shared"][0, 1, :2].tolist() == pytest.approx(expected, abs=1e-4)
    # Teacher 0 says 12 in its first step: nothing is open.
    assert gains["shared"][0, 0].isnan().all()


def test_steps_are_asked_until_one_gives_an_answer_away():
    batch = make_batch(make_student("llama", "padded").tokenizer)
    ends = batch.step_ends[0][1]
    row = TokenRow(0, 1, batch.prompt_ids[0], batch.rationale_ids[0][1])
    assert asked_steps(batch, row) == ends and len(ends) == 2
    batch.open_steps[0][1] = 1
    assert asked_steps(batch, row) == ends[:1]
    assert asked_steps(batch, row, cut=False) == ends
