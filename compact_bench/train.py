"""The only training loop: order, optimizer, schedule, budget, checkpoints.

Every method goes through it, so that rows differ in the method only.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from compact_bench import checkpoint
from compact_bench.api import Batch, Distiller, Step
from compact_bench.errors import Diverged
from compact_bench.recorded import RecordedWeights, gain_rows, read_weights, step_rows
from compact_bench.student.encode import Example, collate
from compact_bench.student.student import Student

Progress = Callable[[dict[str, Any]], None]


@dataclass
class Position:
    """How far a stage is: optimizer steps done, epochs finished.

    `earlier` counts the steps of the stages before; `seconds` of training are of all stages.
    """

    step: int = 0
    epoch: int = 0
    earlier: int = 0
    seconds: float = 0.0

    @property
    def run(self) -> int:
        """Optimizer steps done in all stages."""
        return self.earlier + self.step


class Trainer:
    """Trains one student with one method.

    examples: the encoded questions. spec: a TrainingSpec. folder: where checkpoints go (None:
    no checkpoints). progress: called with {"event": "step", ...}. questions: ids of all training
    questions of the suite, so that rows that lack some read the others in the same order.
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
    ) -> None:
        self.student = student
        self.distiller = distiller
        self.examples = list(examples)
        self.spec = spec
        self.seed = seed
        self.teachers = tuple(teachers)
        self.folder = folder
        self.progress = progress
        self.questions = list(questions) or [e.question_id for e in self.examples]
        self.records: list[dict[str, Any]] = []
        self.gains: list[dict[str, Any]] = []
        self.position = Position()
        self.epochs = int(spec.epochs)
        self.stages: list[str] = []
        self.optimizer = self._new_optimizer()

    def recorded_weights(self, run_id: str) -> RecordedWeights:
        """The weights that another cell of these results recorded.

        Raises CellError where there are none.
        """
        return read_weights(self.folder, run_id)

    def batches(self) -> Iterator[Batch]:
        """All questions once, in the bank's order: for passes that train nothing."""
        size = self.spec.batch_size
        for number, at in enumerate(range(0, len(self.examples), size)):
            yield self._batch(self.examples[at : at + size], number)

    def record(self, batch: Batch, step: Step) -> None:
        """Records a step that trained nothing."""
        self._record(batch, step, float(step.loss), 0.0)

    # --- the budget -------------------------------------------------------------------------

    @property
    def questions_a_step(self) -> int:
        """Questions in one optimizer step."""
        return int(self.spec.batch_size * self.spec.accumulate)

    @property
    def total_steps(self) -> int:
        """Optimizer steps in all epochs of the stage."""
        return int(self.epochs * math.ceil(len(self.examples) / self.questions_a_step))

    def spent(self) -> float:
        """Share of the budget that is spent: of FLOPs where those are the budget, else of steps."""
        if self.spec.max_flops:
            return min(1.0, self.student.cost.flops / self.spec.max_flops)
        return min(1.0, self.position.step / self.total_steps)

    def learning_rate(self) -> float:
        """Linear warm-up, then the schedule, both as functions of the share spent.

        Follows the budget and not the step number, so that no row stops in mid-schedule.
        """
        share = self.spent()
        warmup = self.spec.warmup
        if share < warmup:
            first = 1 / self.total_steps  # the first step must not have a rate of 0
            return float(self.spec.learning_rate * min(1.0, (share + first) / (warmup + first)))
        rest = (share - warmup) / (1 - warmup)
        factor = {
            "cosine": 0.5 * (1 + math.cos(math.pi * rest)),
            "linear": 1 - rest,
            "constant": 1.0,
        }[self.spec.schedule]
        return float(self.spec.learning_rate * factor)

    # --- the loop ---------------------------------------------------------------------------

    def run(self, distiller: Distiller, stage: str = "", epochs: int | None = None) -> None:
        """Trains until the budget is spent; goes on from the last checkpoint, if there is one.

        A method that trains several times (branches, say) gives each its own stage name, a new
        optimizer and schedule, and perhaps its own number of epochs. An interrupted cell calls
        `fit` again: a stage that was finished only puts its end state back.

        Raises Diverged where the loss or gradient is NaN or infinite, ValueError for a stage
        that was run before.
        """
        if stage in self.stages:
            raise ValueError(f"stage {stage!r} was run before; each run needs a name of its own")
        if self.stages:
            self.position = Position(earlier=self.position.run, seconds=self.position.seconds)
            self.optimizer = self._new_optimizer()
        self.stages.append(stage)
        self.epochs = epochs or int(self.spec.epochs)
        folder = self.folder / stage if self.folder else None
        self._resume(distiller, folder)
        self.student.model.train()
        while self.position.epoch < self.epochs or self.spec.max_flops:
            for micro_batches in self._epoch():
                if self.spec.max_flops and self.spent() >= 1:
                    break
                self._step(distiller, micro_batches)
            self.position.epoch += 1
            self._save(distiller, folder)
            if self.spec.max_flops and self.spent() >= 1:
                break
        self.student.model.eval()

    def _epoch(self) -> Iterator[list[Batch]]:
        """The epoch's steps, each a list of micro-batches, in an order that seed and epoch fix."""
        draw = torch.Generator().manual_seed(self.seed * 1_000_003 + self.position.epoch)
        place = {example.question_id: i for i, example in enumerate(self.examples)}
        drawn = torch.randperm(len(self.questions), generator=draw).tolist()
        order = [place[self.questions[i]] for i in drawn if self.questions[i] in place]
        for start in range(0, len(order), self.questions_a_step):
            chosen = order[start : start + self.questions_a_step]
            size = self.spec.batch_size
            yield [
                self._batch([self.examples[i] for i in chosen[at : at + size]], at // size)
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
            _scale(parameters, 1 / share)
            step = distiller.backward(self.student, batch)
            _scale(parameters, share)
            loss += share * float(step.loss.detach())
            results.append((batch, step))
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.spec.clip)
        for name, value in (("loss", loss), ("gradient's norm", float(norm))):
            if not math.isfinite(value):
                raise Diverged(f"the {name} is {value} at step {self.position.run + 1}")
        rate = self.learning_rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.position.step += 1
        self.position.seconds += time.perf_counter() - started
        for batch, step in results:
            self._record(batch, step, loss, rate)
        self.progress(
            {
                "event": "step",
                "step": self.position.step,
                "steps": self.total_steps,
                "share": self.spent(),
                "loss": loss,
            }
        )

    def _record(self, batch: Batch, step: Step, loss: float, rate: float) -> None:
        """One record a question and rationale that was read, and one a step's gain."""
        where = {"step": self.position.run, "epoch": self.position.epoch}
        shared = {
            **where,
            "loss": loss,
            "lr": rate,
            "seconds": self.position.seconds,
            **self.student.cost.as_dict(),
        }
        self.records += step_rows(batch, step, self.teachers, shared)
        self.gains += gain_rows(batch, step, self.teachers, where)

    # --- state ------------------------------------------------------------------------------

    def _new_optimizer(self) -> torch.optim.AdamW:
        parameters = [*self.student.trainable().values(), *self.distiller.parameters()]
        return torch.optim.AdamW(
            parameters, lr=self.spec.learning_rate, weight_decay=self.spec.weight_decay
        )

    def _save(self, distiller: Distiller, folder: Path | None) -> None:
        if folder is None:
            return
        checkpoint.save(
            folder,
            student=self.student,
            optimizer=self.optimizer,
            distiller=distiller,
            position=vars(self.position),
            records={"steps": self.records, "gains": self.gains},
        )

    def _resume(self, distiller: Distiller, folder: Path | None) -> None:
        found = checkpoint.load(
            folder, student=self.student, optimizer=self.optimizer, distiller=distiller
        )
        if found is not None:
            position, records = found
            self.position = Position(**position)
            self.records, self.gains = records["steps"], records["gains"]


def _scale(parameters: Sequence[torch.Tensor], factor: float) -> None:
    """Multiplies the gradients that are there."""
    if factor != 1:
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.mul_(factor)
