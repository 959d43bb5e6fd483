"""The only training loop: order, optimizer, schedule, budget, checkpoints.

Every method goes through it, so that rows differ in the method only.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from compact_bench.data.rationales import RationaleBank
from compact_bench.errors import CellError, Diverged
from compact_bench.methods.base import Distiller
from compact_bench.methods.recorded import RecordedWeights, gain_rows, read_weights, step_rows
from compact_bench.student.batch import Batch, DevMeasure, Step
from compact_bench.student.encode import (
    Example,
    collate,
    encode_bank,
    encode_questions,
    of_teacher,
    with_rationales,
)
from compact_bench.student.load import load_student
from compact_bench.student.student import Student
from compact_bench.suite.sections import StudentSpec
from compact_bench.training import checkpoint

if TYPE_CHECKING:
    from compact_bench.training.dev_score import DevScore

Progress = Callable[[dict[str, Any]], None]
SUM_TOLERANCE = 1e-3  # of a question's weights: sums in float32


@dataclass
class Position:
    """How far a stage is: optimizer steps done, epochs finished (of the row, not the stage).

    `earlier` counts the steps of the stages before and `flops` what was spent before a later
    stage; `seconds` of training are of all stages.
    """

    step: int = 0
    epoch: int = 0
    earlier: int = 0
    seconds: float = 0.0
    flops: float = 0.0

    @property
    def run(self) -> int:
        """Optimizer steps done in all stages."""
        return self.earlier + self.step


def learning_rate(spec: Any, share: float, step: float) -> float:
    """Linear warm-up, then the schedule, both as functions of the share of the budget spent.

    Follows the budget and not the step number, so that no row stops in mid-schedule. spec: a
    TrainingSpec; step: the share that one step spends, since the first must not have a rate of 0.
    """
    warmup = spec.warmup
    if share < warmup:
        return float(spec.learning_rate * min(1.0, (share + step) / (warmup + step)))
    rest = (share - warmup) / (1 - warmup)
    factor = {
        "cosine": 0.5 * (1 + math.cos(math.pi * rest)),
        "linear": 1 - rest,
        "constant": 1.0,
    }[spec.schedule]
    return float(spec.learning_rate * factor)


class Trainer:
    """Trains one student with one method.

    examples: the encoded questions. spec: a TrainingSpec. folder: where checkpoints go (None:
    no checkpoints). progress: called with {"event": "step", ...}. questions: ids of all training
    questions of the suite, so that rows that lack some read the others in the same order. dev: the
    dev questions, for `dev_score` and `dev_batches`; dev_scores: those given so far, in order;
    dev_questions: how many were laid open with their answers. old: makes the examples for
    `old_batch`.
    """

    def __init__(
        self,
        student: Student,
        distiller: Distiller,
        examples: Sequence[Example],
        spec: Any,
        *,
        seed: int,
        teachers: Sequence[str] = (),
        folder: Path | None = None,
        progress: Progress = lambda event: None,
        questions: Sequence[str] = (),
        dev: DevScore | None = None,
        old: Callable[[], RationaleBank] | None = None,
    ) -> None:
        self.student = student
        self.student.seed = seed
        self.distiller = distiller
        self.examples = list(examples)
        self.spec = spec
        self.seed = seed
        self.teachers = tuple(teachers)
        self.folder = folder
        self.progress = progress
        self.questions = list(questions) or [e.question_id for e in self.examples]
        self.dev, self.old = dev, old
        self.dev_scores: list[float] = []
        self.dev_questions = 0
        self.records: list[dict[str, Any]] = []
        self.gains: list[dict[str, Any]] = []
        self.position = Position()
        self.epochs = int(spec.epochs)
        self.part = (0.0, 1.0)
        self.reading = self.examples
        self.stages: list[str] = []
        self.paid = 0.0  # FLOPs when the last stage ended
        self.optimizer = self._new_optimizer()

    def batches(self) -> Iterator[Batch]:
        """All questions once, in the bank's order: for passes that train nothing."""
        size = self.spec.batch_size
        for number, at in enumerate(range(0, len(self.examples), size)):
            yield self._batch(self.examples[at : at + size], number)

    def recorded_weights(self, run_id: str) -> RecordedWeights:
        """The weights that another cell of these results recorded.

        Raises CellError where there are none.
        """
        return read_weights(self.folder, run_id)

    def load_teacher(self, student_id: str) -> None:
        """Loads another model (hub id, folder, GGUF file) and attaches it to the student.

        Raises UserError where it can't be loaded, ValueError for another tokenizer.
        """
        spec = StudentSpec(id=student_id, device=str(self.student.device))
        self.student.attach_teacher(load_student(spec))

    def load_teachers(self, student_ids: Mapping[str, str]) -> None:
        """Loads several models, name -> hub id, folder or GGUF file, for `student.teacher_forward`.

        Raises UserError where one can't be loaded, ValueError for another tokenizer.
        """
        device = str(self.student.device)
        self.student.attach_teachers(
            {n: load_student(StudentSpec(id=i, device=device)) for n, i in student_ids.items()}
        )

    def add_rationales(self, name: str, texts: Mapping[str, Sequence[str]]) -> None:
        """From the next stage on, further rationales are read beside the others: texts by
        question_id, those of a "teacher" of this name. The name "student" is for what the student
        wrote: its tokens are no teacher's.

        Answers are read from the texts. Rows longer than `max_tokens` are left out, and so are
        questions that aren't trained on. Raises ValueError for a name that a teacher has.
        """
        if name in self.teachers:
            raise ValueError(f"add_rationales: there is a teacher {name!r} already")
        self.examples = with_rationales(
            *(self.examples, texts, len(self.teachers)),
            *(self.student.encoder, self.student.max_tokens),
        )
        self.teachers = (*self.teachers, name)

    def dev_batches(self, size: int = 8) -> Iterator[Batch]:
        """The dev questions with their gold answers and no rationales, for choosing by gradients.

        `student.forward(batch, target="answer")` is their loss. What is read while the loop is at
        a batch counts as spent on choosing; that they were laid open is a column of the table.
        Raises CellError where there are none.
        """
        if self.dev is None or self.dev.task.items.empty:
            raise CellError("there is no dev question to choose by")
        items = self.dev.task.items
        self.dev_questions = len(items)
        columns = (items[name] for name in ("question_id", "question", "answer", "answer_kind"))
        examples = encode_questions(zip(*columns, strict=True), self.student.encoder)
        with self.student.cost.selecting():
            for number, at in enumerate(range(0, len(examples), size)):
                yield self._batch(examples[at : at + size], number)

    def dev_score(self, by: DevMeasure, questions: int) -> float:
        """How good the student is as it stands, on dev questions; see `DevScore.of`.

        Raises CellError where there are none.
        """
        if self.dev is None:
            raise CellError("there is no dev question to choose by")
        score = self.dev.of(self.student, self.distiller.decoding(), by, questions)
        self.dev_scores.append(score)
        return score

    def old_batch(self, generator: torch.Generator, size: int) -> Batch:
        """`size` examples of what the student knew before, one text each; none of them twice.

        Raises CellError where there are none.
        """
        order = torch.randperm(len(self._old_examples), generator=generator).tolist()
        chosen = [self._old_examples[i] for i in order[:size]]
        return replace(collate(chosen, device=self.student.device), taught=False)

    @cached_property
    def _old_examples(self) -> list[Example]:
        """Made at the first `old_batch`: most methods never need them."""
        bank = self.old() if self.old else None
        if bank is None:
            raise CellError("no examples of what the student knew are at hand")
        return encode_bank(bank, self.student.encoder, self.student.max_tokens)[0]

    @property
    def questions_a_step(self) -> int:
        """Questions in one optimizer step."""
        return int(self.spec.batch_size * self.spec.accumulate)

    @property
    def steps_an_epoch(self) -> int:
        """Optimizer steps that read each of the stage's questions once."""
        return math.ceil(len(self.reading) / self.questions_a_step)

    @property
    def first_step(self) -> int:
        """Which of the row's steps the stage begins with."""
        return round(self.part[0] * self.epochs * self.steps_an_epoch)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the stage."""
        return round(self.part[1] * self.epochs * self.steps_an_epoch) - self.first_step

    def spent(self) -> float:
        """Share of the stage's budget that is spent: of FLOPs where those are the budget, else of
        steps."""
        if self.spec.max_flops:
            budget = self.spec.max_flops * (self.part[1] - self.part[0])
            return min(1.0, (self.student.cost.flops - self.position.flops) / budget)
        return min(1.0, self.position.step / max(1, self.total_steps))

    def _ended(self) -> bool:
        if self.spec.max_flops:
            return self.spent() >= 1
        return self.position.step >= self.total_steps

    def run(
        self,
        distiller: Distiller,
        stage: str = "",
        epochs: int | None = None,
        part: tuple[float, float] = (0.0, 1.0),
        teacher: int | None = None,
    ) -> None:
        """Trains until the budget is spent; goes on from the last checkpoint, if there is one.

        A method that trains several times (branches, say) gives each its own stage name, a new
        optimizer and schedule, and perhaps its own number of epochs. An interrupted cell calls
        `fit` again: a stage that was finished only puts its end state back.

        part: from where to where in the row's budget the stage goes. Stages whose parts join from
        0 to 1 take as many steps in all as any other row, and read its questions in its order.
        teacher: its rationales alone are read, and the questions that have one.

        Raises Diverged where the loss or gradient is NaN or infinite, ValueError for a stage
        that was run before or a part that isn't one, CellError where a teacher has no rationale,
        for weights that are not finite or sum to anything else than 1 (or 0, for a question that is
        left out), and for an order that leaves questions out.
        """
        if "start_token_nll" in distiller.needs and self.student.start is None:
            self.student.attach_start()
        self._begin(stage, epochs, part, teacher)
        folder = self.folder / stage if self.folder else None
        saved = checkpoint.load(
            folder, student=self.student, optimizer=self.optimizer, distiller=distiller
        )
        if saved is not None:
            self.position = Position(**saved[0])
            self.records, self.gains = saved[1]["steps"], saved[1]["gains"]
        if self._ended() and not self.position.step and self.spec.max_flops:
            raise CellError(f"nothing of the budget in FLOPs is left to train stage {stage!r}")
        self.student.model.train()
        while not self._ended():
            # A checkpoint is made after an epoch, so only a new stage begins within one.
            skipped = 0 if self.position.step else self.first_step % self.steps_an_epoch
            before = self.student.cost.flops
            for micro_batches in islice(self._epoch(distiller), skipped, None):
                if self._ended():
                    break
                self._step(distiller, micro_batches)
            if self.spec.max_flops and self.student.cost.flops == before:
                raise CellError(f"{distiller.name}: nothing is read in an epoch, so it never ends")
            self.position.epoch += 1
            if folder is not None:
                checkpoint.save(
                    folder,
                    student=self.student,
                    optimizer=self.optimizer,
                    distiller=distiller,
                    position=vars(self.position),
                    records={"steps": self.records, "gains": self.gains},
                )
        self.student.model.eval()
        self.paid = self.student.cost.flops

    def _begin(
        self, stage: str, epochs: int | None, part: tuple[float, float], teacher: int | None
    ) -> None:
        """Sets what a stage reads and where it stands before its first step."""
        if stage in self.stages:
            raise ValueError(f"stage {stage!r} was run before; each run needs a name of its own")
        if not 0 <= part[0] < part[1] <= 1:
            raise ValueError(f"part {part}: two shares of the budget, 0 <= from < to <= 1")
        self.epochs, self.part = epochs or int(self.spec.epochs), part
        self.reading = self.examples if teacher is None else of_teacher(self.examples, teacher)
        if not self.reading:
            raise CellError(f"no rationale of teacher {teacher} is left to train on")
        if self.stages:
            self.position = Position(
                earlier=self.position.run,
                seconds=self.position.seconds,
                flops=self.paid,  # what was spent since, on choosing, is the next stage's to pay
            )
            self.optimizer = self._new_optimizer()
        self.position.epoch = self.first_step // self.steps_an_epoch
        self.stages.append(stage)

    def _order(self, distiller: Distiller) -> list[int]:
        """Places in `reading`: as the method has it, else as seed and epoch fix it."""
        epoch = self.position.epoch
        if (own := distiller.order(self.reading, epoch)) is not None:
            if sorted(own) != list(range(len(self.reading))):
                raise CellError(
                    f"{distiller.name}: order gave {len(own)} places in epoch {epoch}; "
                    f"expected each of 0 to {len(self.reading) - 1} once"
                )
            return list(own)
        draw = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        place = {example.question_id: i for i, example in enumerate(self.reading)}
        drawn = torch.randperm(len(self.questions), generator=draw).tolist()
        return [place[self.questions[i]] for i in drawn if self.questions[i] in place]

    def _epoch(self, distiller: Distiller) -> Iterator[list[Batch]]:
        """The epoch's steps, each a list of micro-batches."""
        order = self._order(distiller)
        for start in range(0, len(order), self.questions_a_step):
            chosen = order[start : start + self.questions_a_step]
            size = self.spec.batch_size
            yield [
                self._batch([self.reading[i] for i in chosen[at : at + size]], at // size)
                for at in range(0, len(chosen), size)
            ]

    def _batch(self, examples: Sequence[Example], micro: int) -> Batch:
        return collate(
            examples,
            step=self.position.run,
            micro=micro,
            epoch=self.position.epoch,
            seed=self.seed,
            teachers=self.teachers,
            device=self.student.device,
        )

    def _step(self, distiller: Distiller, micro_batches: Sequence[Batch]) -> None:
        started = time.perf_counter()
        self.optimizer.zero_grad(set_to_none=True)
        parameters = [*self.student.trainable().values(), *distiller.parameters()]
        total = sum(len(batch.questions) for batch in micro_batches)
        results = []
        loss = 0.0
        for batch in micro_batches:
            share = len(batch.questions) / total
            # A short last micro-batch counts by its questions: g <- g + share * its gradient.
            _scale_gradients(parameters, 1 / share)
            step = distiller.backward(self.student, batch)
            if "weights" not in distiller.exempt:
                _check_weights(step, f"{distiller.name}: step {self.position.run + 1}", batch)
            _scale_gradients(parameters, share)
            loss += share * float(step.loss.detach())
            results.append((batch, step))
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.spec.clip)
        for name, value in (("loss", loss), ("gradient's norm", float(norm))):
            if not math.isfinite(value):
                raise Diverged(f"the {name} is {value} at step {self.position.run + 1}")
        rate = learning_rate(self.spec, self.spent(), 1 / max(1, self.total_steps))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.position.step += 1
        self.position.seconds += time.perf_counter() - started
        for batch, step in results:
            self.record(batch, step, loss, rate)
        place = {"step": self.position.step, "steps": self.total_steps, "share": self.spent()}
        self.progress({"event": "step", **place, "loss": loss})

    def record(
        self, batch: Batch, step: Step, loss: float | None = None, rate: float = 0.0
    ) -> None:
        """One record a question and rationale that was read, and one a step's gain.

        By default of a step that trained nothing, of a method that only scores.
        """
        where = {"step": self.position.run, "epoch": self.position.epoch}
        loss = float(step.loss) if loss is None else loss
        spent = {"seconds": self.position.seconds, **self.student.cost.as_dict()}
        self.records += step_rows(batch, step, {**where, "loss": loss, "lr": rate, **spent})
        self.gains += gain_rows(batch, step, where)

    def _new_optimizer(self) -> torch.optim.AdamW:
        parameters = [*self.student.trainable().values(), *self.distiller.parameters()]
        # Fused: a third of the time of one kernel an operation and tensor, 4% of a step of `nano`.
        return torch.optim.AdamW(
            parameters,
            lr=self.spec.learning_rate,
            weight_decay=self.spec.weight_decay,
            fused=True,
        )


def _check_weights(step: Step, where: str, batch: Batch) -> None:
    """Raises CellError for weights that are NaN or infinite, or that don't sum to 1; a question
    whose weights are all 0 is left out of the step."""
    if step.weights is None:
        return
    totals = step.weights.double().sum(-1)
    wrong = ((totals - 1).abs() > SUM_TOLERANCE) & (step.weights != 0).any(-1)
    for b in (wrong | ~totals.isfinite()).nonzero().flatten().tolist():
        raise CellError(
            f"{where}: the weights of question {batch.question_id[b]} sum to {float(totals[b]):g}; "
            "expected finite weights that sum to 1"
        )


def _scale_gradients(parameters: Sequence[Tensor], factor: float) -> None:
    """Multiplies the gradients that are there."""
    if factor != 1:
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.mul_(factor)
