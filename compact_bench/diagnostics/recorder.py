"""What a cell measures beside accuracy: from before its training to rows of its records."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from compact_bench.data.tasks import Prepared, TaskData
from compact_bench.diagnostics.divergence import Divergence, TextRow, first_answers, token_nll
from compact_bench.diagnostics.relearning import gold_rows, old_rows, relearn
from compact_bench.diagnostics.states import last_states
from compact_bench.diagnostics.weights import Snapshots, State, at_random, holding, scaled, sketch
from compact_bench.errors import CellError
from compact_bench.evaluation import isolation
from compact_bench.evaluation.evaluate import Rows, accuracy_rows, evaluate, summary
from compact_bench.evaluation.lm_eval_docs import documents
from compact_bench.methods.base import Distiller
from compact_bench.records.cells import LATENT_COLUMNS, CellWriter
from compact_bench.records.hidden_states import CHANGE, RANDOM, STUDENT
from compact_bench.student.student import Student
from compact_bench.suite.schema import IN_DOMAIN, Suite
from compact_bench.training import checkpoint
from compact_bench.training.trainer import Progress, Trainer

CHECKPOINT, SCALE, RELEARNED = "checkpoint", "scale", "relearned"
PROMPTS, TOKENS = 32, 32  # of the divergence: texts, and tokens at most of each
OLD_TOKENS = 48  # at most, of what the untrained student writes to an old question
TRIES, NEAR = 8, 0.05  # to find a random change of equal divergence, relative


class Recorder:
    """Measures the student of one cell, and writes rows of curve, latent and eval.parquet.

    Made before the training, which has to report its steps to `progress`. The student's weights,
    modes and random states are as before after each call. Tasks of lm-eval's own and further
    reasoning tasks are left out. Nothing is chosen by any of this; items are the first ones of
    those that the final evaluation asks.
    """

    def __init__(
        self, suite: Suite, student: Student, distiller: Distiller, folder: Path, progress: Progress
    ) -> None:
        assert suite.evidence is not None
        self.suite, self.spec = suite, suite.evidence
        self.student, self.distiller = student, distiller
        self.start = student.state_dict()
        tag = checkpoint.source_hash(distiller)
        self.snapshots = Snapshots(student, folder, self.spec.checkpoints, tag)
        self.cell_progress = progress
        self.progress = self.snapshots.watching(progress)
        self.curve: Rows = []
        self.latent: Rows = []
        self.eval: Rows = []
        self.facts: dict[str, Any] = {}  # for status.json

    def measure(self, trainer: Trainer, prepared: Prepared, seed: int) -> None:
        """Measures all; the student must hold its final weights, adapters not merged."""
        began = time.perf_counter()
        self.seed, self.old = seed, trainer.old
        self.tasks = [
            replace(task, items=task.items.head(self.spec.items))
            for task in prepared.tasks
            if task.kind != "lm_eval" and (task.name == IN_DOMAIN or task.role == "forgetting")
        ]
        self.forgetting = [task for task in self.tasks if task.role == "forgetting"]
        with isolation.undisturbed(self.student.model):
            self.student.model.eval()
            if trainer.position.run:
                # A method of several stages goes no single way from start to end.
                self._trained(single_stage=trainer.stages == [""])
            else:
                self._of_student(self._old_texts())
        self.facts["evidence_seconds"] = time.perf_counter() - began

    def write(self, writer: CellWriter, rows: Rows, samples: Rows, facts: dict[str, Any]) -> None:
        """Writes what was measured, and adds to the rows and facts of the cell."""
        stage = rows[0]["stage"]
        rows += [{**row, "stage": stage} for row in self.eval]
        facts |= self.facts
        writer.table("curve", [*self.curve, *self._ends(samples, trained=stage == "after")])
        if self.latent:
            writer.table("latent", self.latent)
        self.snapshots.remove()

    def _trained(self, single_stage: bool) -> None:
        """All of a trained student: the curves, the student itself, and it against the start."""
        start, end = self.start, self.student.state_dict()
        for share, state in self.snapshots.states() if single_stage else ():
            self._point(CHECKPOINT, share, state)
        for share in self.spec.scales:
            self._point(SCALE, share, scaled(start, end, share))
        with holding(self.student, start):
            texts = self._old_texts()
        self._of_student(texts)
        self._against(start, end)

    def _ends(self, samples: Rows, trained: bool) -> Rows:
        """The curve's end, of the final evaluation's answers: the items are among them."""
        rows = []
        for task in self.tasks:
            right = [float(row["right"]) for row in samples if row["task"] == task.name]
            value = summary("accuracy", right[: len(task.items)])
            kind = "none" if task.kind == "choice" else "strict"
            rows.append(_curve_row(CHECKPOINT, float(trained), task, {**value, "filter": kind}))
        return rows

    def _phase(self, name: str) -> None:
        self.cell_progress({"event": "phase", "phase": f"evidence, {name}"})

    def _point(self, kind: str, at: float, state: State) -> None:
        self._phase(f"{kind} {at:g}")
        with holding(self.student, state):
            self.curve += self._accuracy(kind, at, self.tasks)

    def _accuracy(self, kind: str, at: float, tasks: Sequence[TaskData]) -> Rows:
        spec = self.suite.evaluation.model_copy(update={"marginal_samples": 0})
        decoding = self.distiller.decoding()
        rows, _ = evaluate(self.student, tasks, spec, decoding, seed=self.seed, stage="")
        by_name = {task.name: task for task in tasks}
        return [_curve_row(kind, at, by_name[row["task"]], row) for row in accuracy_rows(rows)]

    def _old_texts(self) -> list[list[TextRow]]:
        """For each old task texts of the untrained student, which holds its weights: its own
        answers, or for a choice the right one's text."""
        texts: list[list[TextRow]] = []
        for task in self.forgetting:
            if task.kind == "choice":
                texts.append(gold_rows(self.student.encoder, task))
            else:
                prompts = self._prompts(self._documents(task))
                texts.append(first_answers(self.student, prompts, OLD_TOKENS))
        return texts

    def _of_student(self, old_texts: Sequence[Sequence[TextRow]]) -> None:
        """States, the NLL of the old tasks' texts, and relearning, which comes last."""
        if self.spec.probes:
            self._phase("states")
            self.latent += self._states(STUDENT)
        for task, texts in zip(self.forgetting, old_texts, strict=True):
            nll = [value for values in token_nll(self.student, texts) for value in values]
            self._eval_row(task, summary("text_nll", nll))
        count = self.spec.relearn
        rows = old_rows(self.student.encoder, self.forgetting, self.old, count) if count else []
        if rows:
            self._phase("relearning")
            with holding(self.student, self.student.state_dict()):
                relearn(self.student, rows, self.suite.training.learning_rate)
                self.curve += self._accuracy(RELEARNED, float(len(rows)), self.forgetting)

    def _eval_row(self, task: TaskData, value: dict[str, Any]) -> None:
        context = {"task": task.name, "role": task.role, "split": "test", "chance": task.chance}
        self.eval.append({**context, "task_version": 1, "filter": "none", **value})

    def _documents(self, task: TaskData, count: int | None = None) -> Rows:
        return documents(task, self.student.encoder, task.items.head(count or len(task.items)))

    def _prompts(self, docs: Rows) -> list[list[int]]:
        return [self.student.encoder.prompt_ids(doc["prompt"]) for doc in docs]

    def _states(self, kind: str) -> Rows:
        """Of the first items of every task, in equal parts; the same in every cell of the suite."""
        each = max(1, self.spec.probes // len(self.tasks))
        probes = [(task, doc) for task in self.tasks for doc in self._documents(task, each)]
        prompts = self._prompts([doc for _, doc in probes])
        return [
            _latent_row(kind, layer, task.name, doc["question_id"], values[n])
            for layer, values in last_states(self.student, prompts).items()
            for n, (task, doc) in enumerate(probes)
        ]

    def _against(self, start: State, end: State) -> None:
        """The divergence from the base, the change, and a random change of equal divergence."""
        self._phase("divergence")
        task = next((task for task in self.tasks if task.name == IN_DOMAIN), None)
        if task is not None:
            prompts = self._prompts(self._documents(task, PROMPTS))
            with holding(self.student, start):
                divergence = Divergence(self.student, prompts, TOKENS)
            values = divergence.of(self.student)
            self._eval_row(task, summary("kl_from_base", values))
            if self.spec.probes:
                self._random(divergence, sum(values) / len(values), start, end)
        self.latent.append(_latent_row(CHANGE, -1, "", "", sketch(start, end)))

    def _random(self, divergence: Divergence, target: float, start: State, end: State) -> None:
        """States of a student that was changed at random as much as this one, by its divergence."""
        direction = at_random(start, end, self.seed)
        share, reached = 1.0, 0.0
        for _ in range(TRIES):
            with holding(self.student, scaled(start, direction, share)):
                values = divergence.of(self.student)
            reached = sum(values) / len(values)
            if target <= 0 or abs(reached - target) <= NEAR * target:
                break
            # The divergence grows with the square of a small change.
            share *= min(64.0, max(1 / 64, (target / max(reached, 1e-12)) ** 0.5))
        self.facts |= {"random_kl": reached, "random_share": share}
        with holding(self.student, scaled(start, direction, share)):
            self.latent += self._states(RANDOM)


def _curve_row(kind: str, at: float, task: TaskData, value: dict[str, Any]) -> dict[str, Any]:
    keys = ("metric", "filter", "value", "n")
    context = {"kind": kind, "at": at, "task": task.name, "role": task.role}
    return {**context, **{key: value[key] for key in keys}, "chance": task.chance}


def _latent_row(kind: str, layer: int, task: str, question: str, values: Tensor) -> dict[str, Any]:
    if not torch.isfinite(values).all():
        raise CellError(f"evidence: the {kind}'s states hold NaN or infinity in layer {layer}")
    # Three digits are enough for states, and half as large on disk.
    values = values if kind == CHANGE else values.bfloat16().float()
    row = (kind, layer, task, question, values.numpy())
    return dict(zip(LATENT_COLUMNS, row, strict=True))
