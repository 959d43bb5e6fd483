"""Steps scored from the steps before them, against each alone and against the whole row."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from compact_bench.methods.registry import load
from compact_bench_baselines.local_naturalness import local_steps
from tests.baselines.banks import chosen, layout_bank
from tests.models import make_batch, make_student, row_alone

METHOD = load().methods["local_naturalness"]


def make(**settings):
    return METHOD(METHOD.Config(**settings))


def test_windows_by_hand():
    prompt, body, ends = [1, 2], [3, 4, 5, 6, 7, 8], [2, 3, 5]
    assert local_steps(prompt, body, ends, 1, bos=[0]) == [
        ([1, 2], [3, 4]),
        ([0, 3, 4], [5]),
        ([0, 5], [6, 7, 8]),  # what comes after the last end belongs to the last step
    ]
    assert local_steps(prompt, body, ends, 2) == [
        ([1, 2], [3, 4]),
        ([1, 2, 3, 4], [5]),
        ([3, 4, 5], [6, 7, 8]),
    ]
    assert local_steps(prompt, body, [], 1) == [(prompt, body)]
    assert local_steps(prompt, body, [6], 3) == [(prompt, body)]


def test_a_window_over_everything_is_the_whole_rows_nll_by_step():
    student = make_student("llama", "shared")
    batch = make_batch(student.tokenizer)
    token_nll = student.forward(batch, needs={"token_nll"}).token_nll.detach()
    found = make(window=99).local_nll(student, batch).detach()
    several = 0
    for b, r in batch.present.nonzero().tolist():
        ends = batch.step_ends[b][r]
        bounds = [0, *ends[:-1], batch.body_end[b][r]]
        steps = [token_nll[b, r, i:j].mean() for i, j in pairwise(bounds)]
        several += len(steps) > 1
        assert float(found[b, r]) == pytest.approx(float(torch.stack(steps).mean()), abs=1e-5)
    assert several >= 3  # else the mean over steps could not be told from that over tokens


@pytest.mark.parametrize("layout", ["padded", "shared"])
def test_a_step_sees_its_window_only(layout):
    student = make_student("llama", layout)
    batch = make_batch(student.tokenizer)
    found = make(window=1).local_nll(student, batch).detach()
    # Question 0, teacher b: "First there are 7. Then 5 more come."
    ids, (first, _) = batch.rationale_ids[0][1], batch.step_ends[0][1]
    end = batch.body_end[0][1]
    expected = (
        row_alone(student, batch.prompt_ids[0], ids[:first])
        + row_alone(student, ids[:first], ids[first:end])
    ) / 2
    assert float(found[0, 1]) == pytest.approx(expected, abs=1e-5)


def test_the_lowest_of_each_question_is_kept():
    student = make_student("llama", "padded")
    batch = make_batch(student.tokenizer)
    method = make()
    nll = method.local_nll(student, batch)
    expected = [("0", "abc"[int(nll[0].argmin())]), ("1", "ab"[int(nll[1, :2].argmin())])]
    assert chosen(method.select(layout_bank(), student)) == expected


def test_a_rationale_of_an_answer_alone_is_scored_too():
    student = make_student("llama", "padded")
    batch = make_batch(student.tokenizer)
    batch.body_end[1][0], batch.step_ends[1][0] = 0, []
    found = make().local_nll(student, batch).detach()
    alone = row_alone(student, batch.prompt_ids[1], batch.rationale_ids[1][0])
    assert float(found[1, 0]) == pytest.approx(alone, abs=1e-5)
