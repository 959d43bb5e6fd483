"""Trainers of tiny students, and how their runs are compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from compact_bench.api import Distiller, Step
from compact_bench.student.encode import Encoder, Example
from compact_bench.student.lora import with_adapters
from compact_bench.student.student import Student
from compact_bench.suite.sections import LoraSpec, TrainingSpec
from compact_bench.training.trainer import Trainer
from compact_bench_baselines.average import Average
from tests.models import tiny_model, tiny_tokenizer


class Stateful(Distiller):
    """Remembers something of every batch, in a parameter and in a buffer."""

    name, version, reference = "stateful", 1, "none"

    def __init__(self, config=None):
        super().__init__(config)
        self.seen = torch.zeros(())
        self.scale = torch.nn.Parameter(torch.ones(()))

    def loss(self, student, batch):
        out = student.forward(batch)
        self.seen = self.seen + out.nll.detach().mean()
        return Step(loss=out.nll.mean() * self.scale + self.seen * 0.01 * self.scale)

    def parameters(self):
        return [self.scale]

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]


def spec(**values) -> TrainingSpec:
    return TrainingSpec(**{"learning_rate": 1e-2, "epochs": 2, "batch_size": 2, **values})


def examples(count: int = 7) -> list[Example]:
    encoder = Encoder(tiny_tokenizer())
    return [
        Example(
            question_id=f"q{i}",
            question=f"{i} and {i}?",
            prompt_ids=encoder.prompt(f"{i} and {i}?"),
            answer_ids=encoder.answer(str(2 * i)),
            rationales=tuple(
                encoder.rationale(f"{word} {i}.", str(2 * i), teacher=k)
                for k, word in enumerate(["Double", "Add twice"])
            ),
            gold=str(2 * i),
        )
        for i in range(count)
    ]


def student(lora: bool = False, dropout: float = 0.0) -> Student:
    causal = tiny_model("llama")
    model = causal
    if lora:
        model = with_adapters(causal, LoraSpec(r=2), dropout, seed=0)
    return Student(model, causal, tiny_tokenizer(), layout="shared")


def trainer(method=None, folder=None, lora=False, count=7, dropout=0.0, **values) -> Trainer:
    method = method or Average()
    return Trainer(
        student(lora, dropout),
        method,
        examples(count),
        spec(**values),
        seed=3,
        teachers=("a", "b"),
        folder=folder,
    )


def run(made: Trainer) -> dict[str, torch.Tensor]:
    made.run(made.distiller)
    return made.student.state_dict()


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def assert_resumes(
    make: Callable[[Path | None], Trainer],
    fit: Callable[[Trainer], object],
    folder: Path,
    stop_at: int,
) -> None:
    """A training that was interrupted and begun again ends as one that was not."""
    whole = make(None)
    fit(whole)
    first, events = make(folder), []

    def stop(event):
        events.append(event)
        if len(events) == stop_at:
            raise KeyboardInterrupt

    first.progress = stop
    with pytest.raises(KeyboardInterrupt):
        fit(first)
    second = make(folder)
    fit(second)
    assert same(second.student.state_dict(), whole.student.state_dict())
    assert second.student.cost == whole.student.cost
    a, b = (pd.DataFrame(made.records).drop(columns="seconds") for made in (whole, second))
    pd.testing.assert_frame_equal(a, b[a.columns])
