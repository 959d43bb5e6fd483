"""What a step records, and recorded weights read back and averaged."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
import torch

from compact_bench.api import Step
from compact_bench.errors import CellError
from compact_bench.methods.recorded import RecordedWeights, gain_rows, read_weights, step_rows
from tests.models import make_batch, tiny_tokenizer

TEACHERS = ("a", "b", "c")


def recorded_frame(questions: int = 6, epochs: int = 2) -> pd.DataFrame:
    """Questions of three teachers, but the last, which has two; weights unlike everywhere."""
    rows = []
    step = 0
    for epoch in range(epochs):
        for q in range(questions):
            step += 1
            teachers = TEACHERS[:2] if q == questions - 1 else TEACHERS
            draw = torch.Generator().manual_seed(step)
            weights = torch.softmax(torch.randn(len(teachers), generator=draw), 0).tolist()
            rows += [
                {"step": step, "epoch": epoch, "question_id": f"q{q}", "teacher": t, "sample": 0,
                 "weight": w}
                for t, w in zip(teachers, weights, strict=True)
            ]  # fmt: skip
    return pd.DataFrame(rows)


def test_the_mean_weight_of_each_teacher():
    frame = recorded_frame()
    found = RecordedWeights("abc", frame).by_teacher
    for teacher in TEACHERS:
        expected = frame.loc[frame["teacher"] == teacher, "weight"].mean()
        assert found[teacher] == pytest.approx(expected)


def test_what_a_step_records():
    batch = make_batch(tiny_tokenizer())
    weights = torch.tensor([[0.5, 0.5, 0.0], [0.25, 0.75, 0.0]])
    gains = torch.full((2, 3, 2), float("nan"))
    gains[0, 1, 0], gains[1, 0, 1] = 0.3, -0.2
    step = Step(torch.tensor(1.0), weights, weights * 2, {"x": weights}, gains, 0.1, {"n": 4.0})
    rows = pd.DataFrame(step_rows(batch, step, {"step": 7}))
    assert list(rows["weight"]) == [0.5, 0.5, 0.25, 0.75]  # what has no weight was not read
    assert list(rows["score_x"]) == list(rows["weight"]) and set(rows["log_n"]) == {4.0}
    lengths = [len(ids) for row in batch.rationale_ids for ids in row[:2]]
    assert list(rows["rationale_tokens"]) == lengths
    found = gain_rows(batch, step, {"step": 7})
    assert [(r["teacher"], r["rationale_step"], r["epiphany"]) for r in found] == [
        ("b", 1, True),
        ("a", 2, False),
    ]
    assert [r["gain"] for r in found] == pytest.approx([0.3, -0.2])
    assert gain_rows(batch, replace(step, gains=None), {}) == []


def test_missing_runs_and_weights_are_named(tmp_path):
    with pytest.raises(CellError, match="no run 'abc'"):
        read_weights(tmp_path / "runs" / "new" / "weights", "abc")
    (tmp_path / "runs" / "abc").mkdir(parents=True)
    pd.DataFrame({"step": [1]}).to_parquet(tmp_path / "runs" / "abc" / "steps.parquet")
    with pytest.raises(CellError, match="recorded no weights"):
        read_weights(tmp_path / "runs" / "new" / "weights", "abc")
