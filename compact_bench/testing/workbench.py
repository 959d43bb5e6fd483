"""A method that is run on the small world of the checks, in the ways that they ask for."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from compact_bench.api import Batch, Distiller, FromRecorded, Run, Step
from compact_bench.data.rationales import RationaleBank
from compact_bench.student.encode import encode_bank
from compact_bench.student.load import same_tokenizer
from compact_bench.student.student import Student
from compact_bench.suite_sections import TrainingSpec
from compact_bench.testing.world import (
    SEED,
    STUDENT,
    apart,
    bank,
    dev,
    fresh_student,
    old,
    random_states,
)
from compact_bench.train import Trainer

RECORDED = "recorded"  # the run id of the weights that a FromRecorded method reads
TRAINING = TrainingSpec(learning_rate=1e-3, epochs=2, batch_size=2)
# Steps of this length leave the student as it is, so that two runs can be compared step by step.
STANDING = TRAINING.model_copy(update={"learning_rate": 1e-30})


class Skipped(Exception):
    """The method's own `skip` says that it can't run here."""


class Interrupted(BaseException):
    """Stands for Ctrl-C. No Exception, so that no method takes it for an error of its own."""


@dataclass
class Seen:
    """One step: its batch, what `backward` returned, the (P,) gradient that it left, and whether
    it drew from the batch's generator."""

    batch: Batch
    step: Step
    gradient: Tensor
    drew: bool


@dataclass
class Trained:
    """The end of a training run: the student's weights, the step records, the steps made."""

    state: dict[str, Tensor]
    records: pd.DataFrame
    steps: int


class _Unequal(Distiller):
    """Records weights that differ within a question, for methods that read recorded weights."""

    def weights(self, out: Any, batch: Batch) -> Tensor:
        places = batch.present * (1.0 + torch.arange(batch.teacher.shape[1]))
        return places / places.sum(-1, keepdim=True)


@lru_cache(maxsize=1)
def recorded_run() -> pd.DataFrame:
    """The step records of a run with unequal weights, in the order of every other run."""
    trainer = _trainer(fresh_student("shared"), _Unequal(), bank().only_teachers(bank().teachers))
    trainer.run(trainer.distiller)
    return pd.DataFrame(trainer.records)


def _trainer(
    student: Student,
    distiller: Distiller,
    selected: RationaleBank,
    spec: TrainingSpec = STANDING,
    **arguments: Any,
) -> Trainer:
    examples, _ = encode_bank(selected, student.encoder, spec.max_tokens)
    assert examples, "select: expected rationales to train on, got none"
    questions = list(bank().questions["question_id"])
    return Trainer(
        student,
        distiller,
        examples,
        spec,
        **{
            **{"seed": SEED, "teachers": selected.teachers, "questions": questions},
            **{"dev": dev(), "old": old, **arguments},
        },
    )


def cell_folder(root: Path) -> Path:
    """A cell's folder for checkpoints, in results that hold a run with recorded weights."""
    (root / "runs" / RECORDED).mkdir(parents=True, exist_ok=True)
    recorded_run().to_parquet(root / "runs" / RECORDED / "steps.parquet")
    return root / "runs" / "own" / "weights"


class Workbench:
    """A method with settings, and the ways of running it."""

    def __init__(self, method: type[Distiller], settings: Mapping[str, Any]) -> None:
        self.method = method
        self.settings = dict(settings)
        self.moved: list[str] = []  # whose global random state the last run moved
        if issubclass(method, FromRecorded):
            self.settings.setdefault("weights_from", RECORDED)
        if settings:
            method.Config.model_validate(self.settings)

    def configs(self) -> list[Any]:
        """The configs of the method's rows."""
        config = self.method.Config.model_validate(self.settings)
        return self.method.variants(config, bank().teachers)

    def make(self) -> Distiller:
        """A new instance of the first row that can run here. Raises Skipped where none can."""
        run = Run(
            bank(),
            bank().teachers,
            STUDENT,
            TRAINING,
            partial(same_tokenizer, STUDENT),
            dev=len(dev().task.items),
            old=len(old().questions),
        )
        reasons = []
        for config in self.configs():
            distiller = self.method(config)
            reason = distiller.skip(run)
            if reason is None:
                return distiller
            reasons.append(reason)
        raise Skipped(reasons[0] if reasons else "variants gave no config")

    def run(
        self,
        distiller: Distiller,
        layout: str = "",
        spec: TrainingSpec = STANDING,
        root: Path | None = None,
        **arguments: Any,
    ) -> Trainer:
        """Selects and fits, as a cell does, with a student of its own.

        root: where checkpoints are kept, None for no checkpoints.
        """
        student = fresh_student(layout or ("padded" if self.padded else "shared"))
        student.max_tokens = spec.max_tokens
        with tempfile.TemporaryDirectory() as spare, apart():
            if root or isinstance(distiller, FromRecorded):
                arguments["folder"] = cell_folder(root or Path(spare))
            before = random_states()
            selected = distiller.select(bank(), student)
            trainer = _trainer(student, distiller, selected, spec, **arguments)
            distiller.fit(trainer)
            after = random_states()
        self.moved = [name for name, state in after.items() if state != before[name]]
        return trainer

    @property
    def padded(self) -> bool:
        """Whether the method says that it knows the padded layout only."""
        return self.method.layout == "padded"

    def watch(
        self, change: Callable[[Batch], Batch] = lambda batch: batch, layout: str = ""
    ) -> list[Seen]:
        """Every step of a run in which the student stands still; `change` is done to each batch.

        Empty for a method that says (`seeded = False`) that it trains nothing. Raises
        AssertionError where another trains nothing, Skipped where the method can't run here.
        """
        distiller, seen = self.make(), []
        backward = distiller.backward

        def watched(student: Student, batch: Batch) -> Step:
            batch = change(batch)
            before = batch.generator.get_state()
            step = backward(student, batch)
            drew = not torch.equal(before, batch.generator.get_state())
            kept = replace(step, loss=step.loss.detach())
            seen.append(Seen(batch, kept, gradient_of(student), drew))
            return step

        distiller.backward = watched  # type: ignore[method-assign]
        self.run(distiller, layout)
        assert seen or not self.method.seeded, (
            "fit: expected training steps, got none (fit calls trainer.run; "
            "a method that trains nothing says seeded = False)"
        )
        return seen

    @property
    def reference(self) -> list[Seen]:
        """The steps that changed ones are compared to."""
        return reference_run(self)[0]

    def train(
        self, stop_after: int | None = None, root: Path | None = None, seed: int = SEED
    ) -> Trained:
        """A run that trains. Raises Interrupted after `stop_after` steps."""
        count = 0

        def progress(event: Mapping[str, Any]) -> None:
            nonlocal count
            count += event["event"] == "step"
            if count == stop_after:
                raise Interrupted

        trainer = self.run(self.make(), spec=TRAINING, root=root, progress=progress, seed=seed)
        records = pd.DataFrame(trainer.records).drop(columns="seconds", errors="ignore")
        return Trained(trainer.student.state_dict(), records, count)

    @property
    def trained(self) -> Trained:
        """The uninterrupted run that others are compared to."""
        return whole_run(self)


# Of the latest method alone: what is kept of one takes tens of megabytes.
@lru_cache(maxsize=1)
def reference_run(bench: Workbench) -> tuple[list[Seen], list[str]]:
    """The method's steps on unchanged batches; whose global random state they moved."""
    return bench.watch(), bench.moved


@lru_cache(maxsize=1)
def whole_run(bench: Workbench) -> Trained:
    """The method's uninterrupted training run."""
    return bench.train()


def gradient_of(student: Student) -> Tensor:
    """(P,), 0 where a parameter has none."""
    parts = [
        torch.zeros_like(p) if p.grad is None else p.grad for p in student.trainable().values()
    ]
    return torch.cat([part.flatten() for part in parts])
