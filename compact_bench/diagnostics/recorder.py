"""Takes all the evidence of one cell, and gives it back as rows of its records."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from compact_bench.data.rationales import RationaleBank
from compact_bench.data.tasks import TaskData
from compact_bench.diagnostics.divergence import Divergence, Row, answers, token_nll
from compact_bench.diagnostics.relearning import gold_rows, old_rows, relearn
from compact_bench.diagnostics.states import last_states
from compact_bench.diagnostics.weights import State, at_random, holding, scaled, sketch
from compact_bench.errors import CellError
from compact_bench.evaluation import isolation
from compact_bench.evaluation.evaluate import evaluate, summary
from compact_bench.evaluation.lm_eval_docs import documents
from compact_bench.student.batch import Decoding
from compact_bench.student.student import Student
from compact_bench.suite.schema import IN_DOMAIN, Suite

Rows = list[dict[str, Any]]

CHECKPOINT, SCALE, RELEARNED = "checkpoint", "scale", "relearned"

STUDENT, RANDOM, CHANGE = "student", "random", "change"

PROMPTS, TOKENS = 32, 32  # of the divergence: texts, and tokens at most of each

OLD_TOKENS = 48  # at most, of what the untrained student writes to an old question

TRIES, NEAR = 8, 0.05  # to find a random change of equal divergence, relative


@dataclass
class Evidence:
    """Rows for curve.parquet, latent.parquet and eval.parquet, and facts for status.json."""

    curve: Rows = field(default_factory=list)
    latent: Rows = field(default_factory=list)
    eval: Rows = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CellContext:
    """What a cell asks, and how. old: makes examples of the pre-training, where it is known."""

    suite: Suite
    tasks: Sequence[TaskData]
    decoding: Decoding
    seed: int
    old: Callable[[], RationaleBank] | None = None
    progress: Callable[[dict[str, Any]], None] = lambda event: None


class Recorder:
    """Takes evidence of a student. Its weights, modes and random states are as before at the end.

    Tasks of lm-eval's own and further reasoning tasks are left out. Nothing is chosen by any of
    this; items are the first ones of those that the final evaluation asks.
    """

    def __init__(self, student: Student, asked: CellContext) -> None:
        if asked.suite.evidence is None:
            raise ValueError("this suite asks for no evidence")
        self.student, self.asked, self.spec = student, asked, asked.suite.evidence
        self.tasks = [
            replace(task, items=task.items.head(self.spec.items))
            for task in asked.tasks
            if task.kind != "lm_eval" and (task.name == IN_DOMAIN or task.role == "forgetting")
        ]
        self.forgetting = [task for task in self.tasks if task.role == "forgetting"]
        self.found = Evidence()

    def untrained(self) -> Evidence:
        """What is recorded of the student as it was."""
        began = time.perf_counter()
        with isolation.undisturbed(self.student.model):
            self.student.model.eval()
            self._of_student(self._old_texts())
        return self._ended(began)

    def trained(self, start: State, way: Sequence[tuple[float, State]] = ()) -> Evidence:
        """What is recorded of a trained student, which began at `start` and went `way`."""
        began = time.perf_counter()
        end = self.student.state_dict()
        with isolation.undisturbed(self.student.model):
            self.student.model.eval()
            for share, state in way:
                self._point(CHECKPOINT, share, state)
            for share in self.spec.scales:
                self._point(SCALE, share, scaled(start, end, share))
            with holding(self.student, start):
                texts = self._old_texts()
            self._of_student(texts)
            self._against(start, end)
        return self._ended(began)

    def ends(self, samples: Sequence[dict[str, Any]], trained: bool) -> Rows:
        """The curve's end, of the final evaluation's answers: the items are among them."""
        rows = []
        for task in self.tasks:
            right = [bool(one["right"]) for one in samples if one["task"] == task.name]
            value = summary("accuracy", [float(one) for one in right[: len(task.items)]])
            kind = "none" if task.kind == "choice" else "strict"
            rows.append(_curve_row(CHECKPOINT, float(trained), task, {**value, "filter": kind}))
        return rows

    def _ended(self, began: float) -> Evidence:
        self.found.facts["evidence_seconds"] = time.perf_counter() - began
        return self.found

    def _say(self, what: str) -> None:
        self.asked.progress({"event": "phase", "phase": f"evidence, {what}"})

    # --- accuracy on the way ----------------------------------------------------------------

    def _point(self, kind: str, at: float, state: State) -> None:
        self._say(f"{kind} {at:g}")
        with holding(self.student, state):
            self.found.curve += self._accuracy(kind, at, self.tasks)

    def _accuracy(self, kind: str, at: float, tasks: Sequence[TaskData]) -> Rows:
        suite = self.asked.suite
        rows, _ = evaluate(
            self.student.causal,
            self.student.tokenizer,
            tasks,
            suite.evaluation.model_copy(update={"marginal_samples": 0}),
            self.asked.decoding,
            device=self.student.device,
            chat=self.student.chat,
            seed=self.asked.seed,
            stage="",
        )
        by_name = {task.name: task for task in tasks}
        return [
            _curve_row(kind, at, by_name[row["task"]], row)
            for row in rows
            if row["metric"] == "accuracy" and row["filter"] in ("strict", "none")
        ]

    # --- one student ------------------------------------------------------------------------

    def _old_texts(self) -> list[list[Row]]:
        """For each old task texts of the untrained student, which holds its weights: its own
        answers, or for a choice the right one's text."""
        encoder = self.student.encoder
        found = []
        for task in self.forgetting:
            if task.kind == "choice":
                found.append(gold_rows(encoder, task))
            else:
                prompts = [encoder.bos + encoder.ids(d["prompt"]) for d in documents(task, encoder)]
                found.append(answers(self.student, prompts, OLD_TOKENS))
        return found

    def _of_student(self, old_texts: Sequence[Sequence[Row]]) -> None:
        """States, the NLL of the old tasks' texts, and the second reading, which comes last."""
        if self.spec.probes:
            self._say("states")
            self.found.latent += self._states(STUDENT)
        for task, texts in zip(self.forgetting, old_texts, strict=True):
            nll = [value for one in token_nll(self.student, texts) for value in one]
            self._eval_row(task, summary("text_nll", nll))
        count, encoder = self.spec.relearn, self.student.encoder
        rows = old_rows(encoder, self.forgetting, self.asked.old, count) if count else []
        if rows:
            self._say("relearning")
            with holding(self.student, self.student.state_dict()):
                relearn(self.student, rows, self.asked.suite.training.learning_rate)
                self.found.curve += self._accuracy(RELEARNED, float(len(rows)), self.forgetting)

    def _eval_row(self, task: TaskData, value: dict[str, Any]) -> None:
        context = {"task": task.name, "role": task.role, "split": "test", "chance": task.chance}
        self.found.eval.append({**context, "task_version": 1, "filter": "none", **value})

    def _probes(self) -> list[tuple[TaskData, Any]]:
        """The first items of every task, in equal parts; the same in every cell of the suite."""
        each = max(1, self.spec.probes // len(self.tasks))
        return [(task, doc) for task in self.tasks for doc in self._documents(task, each)]

    def _documents(self, task: TaskData, count: int) -> Rows:
        return documents(task, self.student.encoder, task.items.head(count))

    def _states(self, kind: str) -> Rows:
        encoder, probes = self.student.encoder, self._probes()
        prompts = [encoder.bos + encoder.ids(doc["prompt"]) for _, doc in probes]
        return [
            _latent_row(kind, layer, task.name, doc["question_id"], values[n])
            for layer, values in last_states(self.student, prompts).items()
            for n, (task, doc) in enumerate(probes)
        ]

    # --- against the base -------------------------------------------------------------------

    def _against(self, start: State, end: State) -> None:
        """The divergence from the base, the change, and a random change of equal divergence."""
        self._say("divergence")
        asked = next((task for task in self.tasks if task.name == IN_DOMAIN), None)
        encoder = self.student.encoder
        if asked is not None:
            docs = self._documents(asked, PROMPTS)
            prompts = [encoder.bos + encoder.ids(doc["prompt"]) for doc in docs]
            with holding(self.student, start):
                divergence = Divergence(self.student, prompts, TOKENS)
            values = divergence.of(self.student)
            self._eval_row(asked, summary("kl_from_base", values))
            if self.spec.probes:
                self._random(divergence, sum(values) / len(values), start, end)
        change = sketch(start, end)
        self.found.latent.append(_latent_row(CHANGE, -1, "", "", change))

    def _random(self, divergence: Divergence, wanted: float, start: State, end: State) -> None:
        """States of a student that was changed at random as much as this one, by its divergence."""
        direction = at_random(start, end, self.asked.seed)
        share, reached = 1.0, 0.0
        for _ in range(TRIES):
            with holding(self.student, scaled(start, direction, share)):
                reached = divergence.mean(self.student)
            if wanted <= 0 or abs(reached - wanted) <= NEAR * wanted:
                break
            # The divergence grows with the square of a small change.
            share *= min(64.0, max(1 / 64, (wanted / max(reached, 1e-12)) ** 0.5))
        self.found.facts |= {"random_kl": reached, "random_share": share}
        with holding(self.student, scaled(start, direction, share)):
            self.found.latent += self._states(RANDOM)


def _curve_row(kind: str, at: float, task: TaskData, value: dict[str, Any]) -> dict[str, Any]:
    keys = ("metric", "filter", "value", "n")
    context = {"kind": kind, "at": at, "task": task.name, "role": task.role}
    return {**context, **{key: value[key] for key in keys}, "chance": task.chance}


def _latent_row(kind: str, layer: int, task: str, question: str, values: Tensor) -> dict[str, Any]:
    if not torch.isfinite(values).all():
        raise CellError(f"evidence: the {kind}'s states hold NaN or infinity in layer {layer}")
    # Three digits are enough for states, and half as large on disk.
    kept = values if kind == CHANGE else values.bfloat16().float()
    return {"kind": kind, "layer": layer, "task": task, "question_id": question,
            "values": kept.numpy()}  # fmt: skip
