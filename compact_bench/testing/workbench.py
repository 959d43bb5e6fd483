"""What methods are checked on: the nano student, three questions, and guarded random states."""

from __future__ import annotations

import copy
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from compact_bench.data.rationales import RationaleBank
from compact_bench.data.tasks import TaskData
from compact_bench.methods.base import Distiller, FromRecorded, Run
from compact_bench.mini.old_skills import old_bank
from compact_bench.mini.world import Teaching, generate
from compact_bench.student.batch import Batch, Step
from compact_bench.student.encode import encode_bank
from compact_bench.student.load import load_student, same_tokenizer
from compact_bench.student.student import Student
from compact_bench.suite.schema import IN_DOMAIN
from compact_bench.suite.sections import EvaluationSpec, StudentSpec, TaskSpec, TrainingSpec
from compact_bench.training.dev_score import DevScore
from compact_bench.training.trainer import Trainer

SEED = 0
QUESTIONS = 3
LAYERS = 2
STUDENT = StudentSpec(id="nano", dtype="float32", device="cpu")


@lru_cache(maxsize=1)
def nano() -> Student:
    """The student, loaded once; its first layers alone, which take half the time."""
    student = load_student(STUDENT)
    student.decoder.layers = student.decoder.layers[:LAYERS]
    student.causal.config.num_hidden_layers = LAYERS
    return student


def fresh_student(layout: str) -> Student:
    """A copy of the student, as it was before any training."""
    causal = copy.deepcopy(nano().causal)
    return Student(causal, causal, nano().tokenizer, layout=layout, layout_reason="conformance")


def tokens_read(student: Student) -> list[int]:
    """How many tokens each pass of the student's decoder reads from now on, padding included,
    whoever starts it: a list that grows. Copies of the student are heard as well."""
    read: list[int] = []

    def note(module: Any, args: tuple[Any, ...], inputs: Mapping[str, Any]) -> None:
        ids = inputs.get("input_ids", args[0] if args else None)
        if ids is None:
            ids = inputs["inputs_embeds"][..., 0]
        read.append(ids.numel())

    student.decoder.register_forward_pre_hook(note, with_kwargs=True)
    return read


@lru_cache(maxsize=1)
def bank() -> RationaleBank:
    """Three questions, each with a human rationale and some of four teachers.

    Question i lacks teacher i; the last teacher wrote two samples of the last question. Every
    question has a sound rationale and a faulty one, so that a filter leaves and removes some.
    """
    world = generate("gsm8k", seed=SEED, dev=1, test=1, teaching=Teaching(samples=2))
    names = world.bank.teachers
    questions: list[str] = []
    chosen: list[int] = []
    rows = world.bank.rationales
    for question, group in rows.groupby("question_id", sort=False):
        place = len(questions)
        last = (place == QUESTIONS - 1) & (group["teacher"] == names[-1])
        own = group[(group["teacher"] != names[place]) & ((group["sample"] == 0) | last)]
        sound = (own["right"] & (own["corruption"] == ""))[own["role"] == "teacher"]
        if sound.any() and not sound.all():
            questions.append(str(question))
            chosen += own.index.tolist()
        if len(questions) == QUESTIONS:
            break
    return world.bank.keep(rows.index.isin(chosen)).keep(questions)


@lru_cache(maxsize=1)
def dev() -> DevScore:
    """Two dev questions, for methods that choose by the dev score; short answers will do."""
    items = generate("gsm8k", seed=SEED, train=1, dev=2, test=1).dev
    task = TaskData(
        IN_DOMAIN, "generate", "reasoning", items.rename(columns={"kind": "answer_kind"}), 0.0
    )
    tasks = [TaskSpec(task=IN_DOMAIN, role="reasoning")]
    spec = EvaluationSpec(tasks=tasks, max_new_tokens=8, marginal_samples=1, select=True)
    return DevScore(task, spec, SEED)


@lru_cache(maxsize=1)
def old() -> RationaleBank:
    """Examples of what the student knew, for methods that rehearse them."""
    return old_bank({})


def random_states() -> dict[str, bytes]:
    """The global random states by library."""
    _, keys, *rest = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": np.asarray(keys).tobytes() + repr(rest).encode(),
        "python": repr(random.getstate()).encode(),
    }


@contextmanager
def isolated() -> Iterator[None]:
    """Draw as a cell does, whatever was drawn before, and leave the global random states alone.

    On one thread: how a sum is split among several is not the same each time, which would be
    taken for a method that doesn't repeat itself.
    """
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])


NOTHING = "it trains nothing (seeded = False)"
RECORDED = "recorded"  # the run id of the weights that a FromRecorded method reads
TRAINING = TrainingSpec(learning_rate=1e-3, epochs=2, batch_size=2)
# Steps of this length leave the student as it is, so that two runs can be compared step by step.
STANDING = TRAINING.model_copy(update={"learning_rate": 1e-30})


class Skipped(Exception):
    """The method's own `skip` says that it can't run here."""


class NotApplicable(Exception):
    """A check says nothing about the method."""


class Interrupted(BaseException):
    """Stands for Ctrl-C. No Exception, so that no method takes it for an error of its own."""


@dataclass
class ObservedStep:
    """One step: its batch, what `backward` returned, the (P,) gradient that it left (0 where a
    parameter has none), and whether it drew from the batch's generator."""

    batch: Batch
    step: Step
    gradient: Tensor
    drew: bool
    nothing: bool = False  # whether it says that it read nothing: a loss of 0 without a gradient

    @property
    def read(self) -> Tensor:
        """(B,R) bool: what is present, without the questions that the step left out."""
        weights, nll = self.step.weights, self.step.nll
        if weights is None or nll is None or nll.shape != weights.shape:
            return self.batch.present
        return self.batch.present & ((weights != 0) | (nll != 0)).any(-1, keepdim=True)


@dataclass
class Trained:
    """The end of a training run: the student's weights, the step records, the steps made."""

    state: dict[str, Tensor]
    records: pd.DataFrame
    steps: int


class _Unequal(Distiller):
    """Records weights that differ within a question, for methods that read recorded weights."""

    name = "unequal"

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
    known = {"seed": SEED, "teachers": selected.teachers, "dev": dev(), "old": old}
    known["questions"] = [*bank().questions["question_id"]]
    return Trainer(student, distiller, examples, spec, **known | arguments)  # type: ignore[arg-type]


class Workbench:
    """A method with settings, and the ways of running it."""

    def __init__(self, method: type[Distiller], settings: Mapping[str, Any]) -> None:
        self.method = method
        self.settings = dict(settings)
        self.moved: list[str] = []  # libraries whose global random state the last run moved
        self.uncounted = 0  # tokens that the model read in the last run past the student's cost
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
        tokenizer, items = partial(same_tokenizer, STUDENT), len(dev().task.items)
        run = Run(
            bank(), bank().teachers, STUDENT, TRAINING, tokenizer, items, len(old().questions)
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
        """Select and fit, as a cell does, with a student of its own; checkpoints go to `root`."""
        student = fresh_student(layout or ("padded" if self.padded else "shared"))
        student.max_tokens = spec.max_tokens
        student.seed = arguments.get("seed", SEED)
        read = tokens_read(student)
        with tempfile.TemporaryDirectory() as spare, isolated():
            if root or isinstance(distiller, FromRecorded):
                runs = (root or Path(spare)) / "runs"  # of results with recorded weights
                (runs / RECORDED).mkdir(parents=True, exist_ok=True)
                recorded_run().to_parquet(runs / RECORDED / "steps.parquet")
                arguments["folder"] = runs / "own" / "weights"
            before = random_states()
            selected = distiller.select(bank(), student)
            trainer = _trainer(student, distiller, selected, spec, **arguments)
            distiller.fit(trainer)
            after = random_states()
        self.uncounted = sum(read) - student.cost.physical_tokens
        self.moved = [name for name, state in after.items() if state != before[name]]
        return trainer

    @property
    def padded(self) -> bool:
        """Whether the method says that it knows the padded layout only."""
        return self.method.layout == "padded"

    def observe(
        self, change: Callable[[Batch], Batch] = lambda batch: batch, layout: str = ""
    ) -> list[ObservedStep]:
        """Every step of a run in which the student stands still; `change` is done to each batch.

        Empty for a method that trains nothing and says so (`seeded = False`). Raises Skipped where
        the method can't run here.
        """
        distiller, steps = self.make(), []
        backward = distiller.backward

        def observed(student: Student, batch: Batch) -> Step:
            batch = change(batch)
            before = batch.generator.get_state()
            step = backward(student, batch)
            drew = not torch.equal(before, batch.generator.get_state())
            nothing = not step.loss.requires_grad and float(step.loss) == 0
            detached = replace(step, loss=step.loss.detach())
            parts = [torch.zeros_like(p) if p.grad is None else p.grad
                     for p in student.trainable().values()]  # fmt: skip
            gradient = torch.cat([part.flatten() for part in parts])
            steps.append(ObservedStep(batch, detached, gradient, drew, nothing))
            return step

        distiller.backward = observed  # type: ignore[method-assign]
        self.run(distiller, layout)
        assert steps or not self.method.seeded, (
            "fit: expected training steps, got none (fit calls trainer.run; "
            "a method that trains nothing says seeded = False)"
        )
        return steps

    @property
    def reference(self) -> list[ObservedStep]:
        """The steps that changed ones are compared to. Raises NotApplicable without any."""
        if steps := reference_run(self)[0]:
            return steps
        raise NotApplicable(NOTHING)

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


# Of the latest method alone: the steps of one take tens of megabytes.
@lru_cache(maxsize=1)
def reference_run(bench: Workbench) -> tuple[list[ObservedStep], list[str], int]:
    """The method's steps on unchanged batches; the libraries whose random state they moved; and
    how many tokens were read past the student's cost."""
    return bench.observe(), bench.moved, bench.uncounted


@lru_cache(maxsize=1)
def whole_run(bench: Workbench) -> Trained:
    """The method's uninterrupted training run."""
    return bench.train()
