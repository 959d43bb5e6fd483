"""What a method is: the hooks that it may override, and what it is given.

Sizes in docstrings are those of `student.batch`.
"""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict

from compact_bench.student.batch import Batch, Decoding, DevMeasure, Output, Step, uniform

if TYPE_CHECKING:
    from torch import Tensor

    from compact_bench.data.rationales import RationaleBank
    from compact_bench.methods.recorded import RecordedWeights
    from compact_bench.student.encode import Example
    from compact_bench.student.student import Student

HOOKS = ("select", "order", "rows", "weights", "loss", "backward", "fit", "decoding", "answer")


class MethodTrainer(Protocol):
    """What a method may use of the trainer; `training.trainer.Trainer` documents each."""

    student: Student
    teachers: tuple[str, ...]
    seed: int

    def run(
        self,
        distiller: Distiller,
        stage: str = "",
        epochs: int | None = None,
        part: tuple[float, float] = (0.0, 1.0),
        teacher: int | None = None,
    ) -> None:
        """Train until the budget is spent."""

    def spent(self) -> float:
        """Share of the stage's budget that is spent."""

    def batches(self) -> Iterator[Batch]:
        """All questions once, in the bank's order: for passes that train nothing."""

    def record(self, batch: Batch, step: Step) -> None:
        """Record a step that trained nothing."""

    def recorded_weights(self, run_id: str) -> RecordedWeights:
        """The weights that another cell of these results recorded."""

    def load_teacher(self, student_id: str) -> None:
        """Load another model and attach it to the student, for `teacher_logits`."""

    def load_teachers(self, student_ids: Mapping[str, str]) -> None:
        """Load several models by name, for `student.teacher_forward`."""

    def add_rationales(self, name: str, texts: Mapping[str, Sequence[str]]) -> None:
        """Further rationales, by question_id, that the next stages read beside the others."""

    def dev_score(self, by: DevMeasure, questions: int) -> float:
        """How good the student is as it stands, on dev questions."""

    def dev_batches(self, size: int = 8) -> Iterator[Batch]:
        """The dev questions with their gold answers, for choosing by gradients."""

    def old_batch(self, generator: Any, size: int) -> Batch:
        """Examples of what the student knew before."""


@dataclass(frozen=True)
class Run:
    """What `skip` may look at before anything is trained.

    same_tokenizer: whether another model (hub id, folder, GGUF file) has the student's
    vocabulary, so that their logits can be compared; raises UserError where it can't be loaded.
    dev: how many dev questions there are. old: how many examples of what the student knew.
    """

    bank: RationaleBank
    teachers: Sequence[str]
    student: Any  # suite.StudentSpec
    training: Any  # suite.TrainingSpec
    same_tokenizer: Callable[[str], bool] = lambda student_id: False
    dev: int = 0
    old: int = 0

    @property
    def by_flops(self) -> bool:
        """Whether rows train until FLOPs are spent, however many steps that takes."""
        return bool(self.training.max_flops) or self.training.budget == "flops"

    @property
    def steps(self) -> int:
        """Optimizer steps of a row that reads every question in every epoch."""
        size = self.training.batch_size * self.training.accumulate
        return int(self.training.epochs * math.ceil(len(self.bank.questions) / size))


class Distiller(ABC):
    """One way of using several teachers. A method overrides the narrowest hook that it needs.

    The runner owns data, order, optimizer, schedule, budget, evaluation and records, so that
    methods differ in the method only.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    reference: ClassVar[str]
    bibtex: ClassVar[str] = ""
    uses_gold: bool = False  # by default; settings may decide for an instance
    needs: ClassVar[frozenset[str]] = frozenset()
    layout: ClassVar[str] = "any"
    seeded: ClassVar[bool] = True  # False: nothing random, so one cell without a seed
    reads_data: ClassVar[bool] = True  # False: the training data don't matter, so one cell for all
    exempt: ClassVar[Mapping[str, str]] = {}  # conformance check -> why it can't hold by design
    lora_dropout: float = 0.0  # of the adapters; an instance may set its own

    class Config(BaseModel):
        """Hyper-parameters; `Annotated[float, Tunable(0, 3)]` makes one tunable."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        def idle(self) -> set[str]:
            """Names of settings that do nothing with the others as they are: not searched."""
            return set()

    def __init__(self, config: Any = None) -> None:
        self.config: Any = self.Config() if config is None else config

    @classmethod
    def variants(cls, config: Any, teachers: Sequence[str]) -> list[Any]:
        """The configs that one entry of a suite stands for: one row of the table each."""
        return [config]

    @property
    def label(self) -> str:
        """The row's label in tables."""
        return self.name

    @classmethod
    def hook(cls) -> str:
        """The names of the overridden hooks, "none" where there are none."""
        overridden = [h for h in HOOKS if getattr(cls, h) is not getattr(Distiller, h)]
        return " + ".join(overridden) or "none"

    @classmethod
    def answers(cls) -> bool:
        """Whether the method may answer questions itself."""
        return cls.answer is not Distiller.answer

    def skip(self, run: Run) -> str | None:
        """A reason why the method can't run here (no human rationale, ...), or None."""
        return None

    def select(self, bank: RationaleBank, student: Student) -> RationaleBank:
        """Choose or filter rationales before training; human ones never enter by default."""
        return bank.only_teachers(bank.teachers)

    def order(self, examples: Sequence[Example], epoch: int) -> Sequence[int] | None:
        """The places of all examples in the order in which the epoch reads them.

        None: an order that the run's seed and the epoch fix, the same for every method.
        """
        return None

    def rows(self, batch: Batch) -> Tensor:
        """(B,R) bool: what is read at this step. Unread rationales cost nothing.

        A question without any row adds nothing to the step.
        """
        return batch.present

    def weights(self, out: Output, batch: Batch) -> Tensor:
        """(B,R) detached; rows sum to 1 over what is read."""
        return uniform(batch.present)

    def loss(self, student: Student, batch: Batch) -> Step:
        """sum_r w_r * nll_r, mean over the batch's questions, those without a row included."""
        batch = batch.restrict(self.rows(batch))
        if not bool(batch.present.any()):
            nothing = uniform(batch.present)  # (B,R) zeros
            return Step(loss=nothing.sum(), weights=nothing, nll=nothing)
        out = student.forward(batch, needs=self.needs)
        weights = self.weights(out, batch).detach()
        loss = (weights * out.nll).sum(-1).mean()
        return Step(loss=loss, weights=weights, nll=out.nll.detach())

    def backward(self, student: Student, batch: Batch) -> Step:
        """Leave the step's gradient in the student's trainable parameters."""
        step = self.loss(student, batch)
        if step.loss.requires_grad:  # else nothing was read
            step.loss.backward()
        return step

    def fit(self, trainer: MethodTrainer) -> None:
        """The whole procedure; branch-and-merge methods call `trainer.run` several times."""
        trainer.run(self)

    def decoding(self) -> Decoding:
        """How the trained student answers; default: rationale, then answer, in one pass."""
        return Decoding()

    def answer(self, question: str, kind: str, choices: Sequence[str]) -> str | None:
        """The method's own answer; None: the student answers.

        Of reasoning tasks only. The row of a method that overrides this has no forgetting tasks,
        which measure what the student knew. kind: "number", "boolean", "choice". choices: their
        texts, which are left out of the question's own; the answer is a letter then.
        """
        return None

    def parameters(self) -> list[Tensor]:
        """Parameters of the method's own, trained with the student's."""
        return []

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors that a checkpoint must hold."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes back what `state_dict` gave."""


class FromRecorded(Distiller):
    """A method whose weights come from those that another run recorded. Not a row of its own.

    by_step: whether it reads the weights of the step that it is at.
    """

    by_step: ClassVar[bool] = True
    exempt: ClassVar[Mapping[str, str]] = {
        "one_rationale": "the recorded weights are shares of all rationales that were read then"
    }

    class Config(Distiller.Config):
        """weights_from: the run id of another cell, or in a suite the label of its row."""

        weights_from: str = ""

    def skip(self, run: Run) -> str | None:
        """Skips where no run is named, or where the other run may have other steps."""
        if not self.config.weights_from:
            return "weights_from names no run"
        if self.by_step and run.by_flops:
            return "rows of equal FLOPs have unlike steps; the weights are recorded by step"
        return None

    def fit(self, trainer: MethodTrainer) -> None:
        """Reads the recorded weights, then trains."""
        self.recorded = self.changed(trainer.recorded_weights(self.config.weights_from), trainer)
        trainer.run(self)

    def changed(self, recorded: RecordedWeights, trainer: MethodTrainer) -> RecordedWeights:
        """What to train with instead of the weights as they were recorded."""
        return recorded

    def weights(self, out: Output, batch: Batch) -> Tensor:
        """(B,R); raises CellError for a step or question that the other run didn't have."""
        return self.recorded.of(batch)
