"""The batches that a method scores before training."""

from __future__ import annotations

import pytest
import torch

from tests.baselines.banks import bank_of, layout_bank
from tests.models import make_batch, make_student, row_alone


def test_they_are_what_training_reads():
    student = make_student("llama", "shared")
    (batch,) = student.batches(layout_bank())
    expected = make_batch(student.tokenizer)
    assert torch.equal(batch.teacher, expected.teacher)
    assert batch.prompt_ids == expected.prompt_ids
    assert batch.rationale_ids == expected.rationale_ids
    assert batch.teachers == ("a", "b", "c")


def test_every_question_comes_once_in_the_banks_order():
    rows = [(f"q{i}", "ada", "one", "1") for i in (3, 1, 4, 0, 2)]
    batches = list(make_student("llama", "padded").batches(bank_of(rows, ("ada",)), size=2))
    assert [batch.question_id for batch in batches] == [["q3", "q1"], ["q4", "q0"], ["q2"]]


def test_values_by_rationale_go_there_and_back():
    batch = make_batch(make_student("llama", "padded").tokenizer)
    values = torch.arange(6.0).reshape(2, 3) + 1
    found = batch.by_rationale(values)
    assert torch.equal(batch.from_rationale(found), values * batch.present)
    with pytest.raises(KeyError):
        batch.from_rationale({})


def test_what_training_drops_is_absent():
    student = make_student("llama", "padded")
    rows = [
        ("q0", "ada", "short", "1"),
        ("q0", "bob", "long" * 99, "1"),
        ("q1", "bob", "l" * 99, "1"),
    ]
    (batch,) = student.batches(bank_of(rows, ("ada", "bob")))
    assert batch.present.tolist() == [[True, True], [True, False]]
    student.max_tokens = len(batch.prompt_ids[0]) + len(batch.rationale_ids[0][0])
    (batch,) = student.batches(bank_of(rows, ("ada", "bob")))
    assert batch.question_id == ["q0"] and batch.teacher.tolist() == [[0]]


def test_values_by_rationale():
    batch = make_batch(make_student("llama", "padded").tokenizer)
    values = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], requires_grad=True)
    assert batch.by_rationale(values) == {
        ("0", "a", 0): 1.0,
        ("0", "b", 0): 2.0,
        ("0", "c", 0): 3.0,
        ("1", "a", 0): 4.0,
        ("1", "b", 0): 5.0,
    }
    less = batch.restrict(torch.tensor([[False, True, False], [False, False, True]]))
    assert less.by_rationale(values) == pytest.approx({("0", "b", 0): 2.0})


def test_other_texts_are_scored_as_they_stand():
    student = make_student("llama", "shared")
    batch = make_batch(student.tokenizer)
    rows = [(1, [5, 6, 7], [8, 9]), (0, [5], [6]), (1, [9, 9], [4, 4, 4])]
    nll = student.forward(batch.rewritten(rows)).nll
    assert nll.shape == (3, 1)
    expected = [row_alone(student, prompt, target) for _, prompt, target in rows]
    assert nll[:, 0].tolist() == pytest.approx(expected, abs=1e-5)
    assert batch.rewritten(rows).question_id == ["1", "0", "1"]
