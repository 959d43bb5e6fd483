"""The records of a training step, and the weights of another run read back from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from compact_bench.errors import CellError
from compact_bench.methods.scores.adaptability import epiphanies
from compact_bench.records.cells import read_cell
from compact_bench.student.batch import Batch, Step

Row = dict[str, Any]

Key = tuple[int, str, str, int]  # step (from 1), question_id, teacher, sample


def step_rows(batch: Batch, step: Step, shared: Mapping[str, Any]) -> list[Row]:
    """One record a question and rationale that was read; `shared` goes into each."""
    columns = {"nll": step.nll, "weight": step.weights} | {
        f"score_{name}": value for name, value in step.scores.items()
    }
    shared = {**shared, **{f"log_{name}": value for name, value in step.logs.items()}}
    teacher, sample = batch.teacher.tolist(), batch.sample.tolist()
    values = {name: t.tolist() for name, t in columns.items() if t is not None}
    width = max((t.shape[1] for t in columns.values() if t is not None), default=0)
    records = []
    for b, question_id in enumerate(batch.question_id):
        rows: list[Row] = [
            {
                "teacher": batch.teachers[teacher[b][r]] if batch.teachers else "",
                "sample": sample[b][r],
                "rationale_tokens": len(batch.rationale_ids[b][r]),
                **{name: value[b][r] for name, value in values.items()},
            }
            for r in range(width)
            if width == len(teacher[b]) and teacher[b][r] >= 0
            if "weight" not in values or values["weight"][b][r] > 0  # else it was not read
        ]
        for row in rows or [{"teacher": "", "sample": 0}]:
            records.append({**shared, "question_id": question_id, **row})
    return records


def gain_rows(batch: Batch, step: Step, shared: Mapping[str, Any]) -> list[Row]:
    """One record a question, rationale and reasoning step (from 1) whose gain is known."""
    if step.gains is None:
        return []
    records = []
    epiphany = epiphanies(step.gains, step.kappa)
    for b, r, s in (~step.gains.isnan()).nonzero().tolist():
        records.append(
            {
                **shared,
                "question_id": batch.question_id[b],
                "teacher": batch.teachers[int(batch.teacher[b, r])] if batch.teachers else "",
                "sample": int(batch.sample[b, r]),
                "rationale_step": s + 1,
                "gain": float(step.gains[b, r, s]),
                "epiphany": bool(epiphany[b, r, s]),
            }
        )
    return records


@dataclass(frozen=True)
class RecordedWeights:
    """The weights that another run recorded. frame: step, epoch, question_id, teacher, sample,
    weight."""

    run_id: str
    frame: pd.DataFrame

    @cached_property
    def known(self) -> dict[Key, float]:
        """The weight of a (step, question, teacher, sample)."""
        names = ["step", "question_id", "teacher", "sample"]
        return self.frame.set_index(names)["weight"].to_dict()

    def of(self, batch: Batch) -> Tensor:
        """(B,R) float32 for this batch's step and questions.

        Raises CellError for a step or question that the other run didn't have.
        """
        weights = torch.zeros(batch.teacher.shape)
        samples = batch.sample.tolist()
        for b, row in enumerate(batch.teacher.tolist()):
            for r, k in enumerate(row):
                if k >= 0:
                    place = (batch.step + 1, batch.question_id[b], batch.teachers[k], samples[b][r])
                    weights[b, r] = self.known.get(place, 0.0)
            if not weights[b].any():
                raise CellError(
                    f"weights_from: run {self.run_id!r} has no weights for step "
                    f"{batch.step + 1}, question {batch.question_id[b]}"
                )
        return weights.to(batch.teacher.device)

    @cached_property
    def by_teacher(self) -> dict[str, float]:
        """The mean weight of a teacher's rationale, over all questions and steps."""
        return self.frame.groupby("teacher", sort=True)["weight"].mean().to_dict()


def read_weights(folder: Path | None, run_id: str) -> RecordedWeights:
    """The weights that cell `run_id` of these results recorded; folder: this cell's `weights`.

    Raises CellError where there are none.
    """
    frame = read_cell(folder.parent.parent / run_id).steps() if folder else pd.DataFrame()
    if frame.empty:
        raise CellError(f"weights_from: no run {run_id!r} in these results")
    if "weight" not in frame:
        raise CellError(f"weights_from: run {run_id!r} recorded no weights")
    columns = ["step", "epoch", "question_id", "teacher", "sample", "weight"]
    return RecordedWeights(run_id, frame[columns])
