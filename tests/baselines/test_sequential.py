"""Whose turn it is, and what is read of questions that lack that teacher."""

from __future__ import annotations

from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from compact_bench.methods.registry import load
from tests.baselines.banks import layout_bank, run_of
from tests.baselines.test_random_weights import batch_of
from tests.trainers import trainer

METHOD = load().methods["sequential"]


def rows_at(share: float, teacher, **settings):
    method = METHOD(METHOD.Config(**settings))
    method.fit(SimpleNamespace(spent=lambda: share, run=lambda method: None))
    return method.rows(batch_of(teacher)).tolist()


@pytest.mark.parametrize(
    ("share", "turn"), [(0.0, 0), (0.3, 0), (0.34, 1), (0.6, 1), (0.67, 2), (1.0, 2)]
)
def test_the_budget_is_shared_equally(share, turn):
    expected = [[k == turn for k in range(3)]]
    assert rows_at(share, [[0, 1, 2]]) == expected
    order = ["c", "a", "b"]
    (row,) = rows_at(share, [[0, 1, 2]], order=order)
    assert "abc"[row.index(True)] == order[turn] and sum(row) == 1


def test_the_next_teacher_in_the_order_stands_in():
    lacking = [[0, 2], [2, -1], [0, -1]]
    assert rows_at(0.5, lacking) == [[False, True], [True, False], [True, False]]  # b, c, a
    assert rows_at(0.5, [[0, 2]], order=["c", "b", "a"]) == [[True, False]]


def test_all_samples_of_a_teacher_are_read_and_absent_ones_are_not():
    assert rows_at(0.0, [[0, 0, 1], [-1, -1, -1]]) == [[True, True, False], [False, False, False]]


def test_every_question_is_read_and_once():
    teacher = torch.randint(-1, 3, (40, 4), generator=torch.Generator().manual_seed(0))
    teacher[:, 0] = teacher[:, 0].clamp_min(0)
    for share in (0.0, 0.5, 0.9):
        rows = torch.tensor(rows_at(share, teacher.tolist()))
        for b in range(40):
            assert len(set(teacher[b][rows[b]].tolist())) == 1


def test_an_order_must_name_the_runs_teachers():
    run = run_of(layout_bank())
    assert METHOD(METHOD.Config()).skip(run) is None
    assert METHOD(METHOD.Config(order=["c", "a", "b"])).skip(run) is None
    assert "the run has" in METHOD(METHOD.Config(order=["c", "a"])).skip(run)


def test_a_run_reads_one_teacher_after_the_other():
    made = trainer(METHOD(METHOD.Config(order=["b", "a"])), epochs=2)
    made.distiller.fit(made)
    frame = pd.DataFrame(made.records)
    by_step = frame.groupby("step")["teacher"].agg(lambda names: "".join(sorted(set(names))))
    assert by_step.tolist() == ["b"] * 4 + ["a"] * 4  # eight steps in two epochs
    assert len(frame) == 2 * 7
