"""All that a baseline may import.

Sizes in docstrings: B questions, R rationales a question, T tokens, A answer tokens, S steps,
D hidden size, V vocabulary, P trainable parameters.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from compact_bench import fusion
from compact_bench.lazy import torch
from compact_bench.scores import adaptability, consensus

if TYPE_CHECKING:
    from torch import Tensor

    from compact_bench.data.rationales import RationaleBank
    from compact_bench.student.student import Student
    from compact_bench.train import Trainer

PromptKind = Literal["plain", "predict", "explain", "teacher"]
Target = Literal["rationale+answer", "rationale", "answer"]
Context = Literal["question", "question+rationale"]

HOOKS = ("skip", "select", "rows", "weights", "loss", "backward", "fit", "decoding")
MATH_HOOKS = HOOKS[1:]


@dataclass(frozen=True)
class Tunable:
    """Marks a config field as tunable: `beta: Annotated[float, Tunable(0, 3)] = 1.0`."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Decoding:
    """How a trained student is asked: which prompt, and in one or two passes.

    With `passes=2` the rationale is generated first and the answer in a pass of its own, after
    the cue "The answer is".
    """

    prompt: PromptKind = "plain"
    passes: int = 1
    prefix: str = ""


@dataclass(frozen=True)
class Run:
    """What `skip` may look at before anything is trained."""

    bank: RationaleBank
    teachers: Sequence[str]
    student: Any  # suite.StudentSpec
    training: Any  # suite.TrainingSpec


@dataclass
class Batch:
    """The questions of one step with their rationales.

    teacher: (B,R) int64, the teacher's index, -1 where absent or not read.
    sample: (B,R) int64, which of a teacher's rationales.
    rationale_ids[b][r]: target tokens, the answer sentence and EOS included.
    body_end[b][r]: how many of them come before the answer sentence.
    answer_start[b][r]: index in rationale_ids of the first token of the rationale's own answer
        (the length of the row's tokens without EOS where the rationale has no answer).
    answer_ids[b]: tokens of the gold answer, A of them.
    step_ends[b][r]: for each reasoning step, how many of the row's tokens it and all before use.
    """

    question_id: list[str]
    questions: list[str]
    teacher: Tensor
    sample: Tensor
    prompt_ids: list[list[int]]
    rationale_ids: list[list[list[int]]]
    body_end: list[list[int]]
    answer_start: list[list[int]]
    answer_ids: list[list[int]]
    step_ends: list[list[list[int]]]
    step: int
    epoch: int
    generator: Any  # torch.Generator, seeded by (seed, step)
    teachers: tuple[str, ...] = ()

    @property
    def present(self) -> Tensor:
        """(B,R) bool."""
        return self.teacher >= 0

    def single(self, b: int) -> Batch:
        """The b-th question as a batch of its own."""
        return replace(
            self,
            **{
                name: getattr(self, name)[b : b + 1]
                for name in (
                    *("question_id", "questions", "teacher", "sample", "prompt_ids"),
                    *("rationale_ids", "body_end", "answer_start", "answer_ids", "step_ends"),
                )
            },
        )

    def restrict(self, rows: Tensor) -> Batch:
        """The same batch with the rationales outside `rows` (B,R bool) marked absent."""
        absent = torch.full_like(self.teacher, -1)
        return replace(self, teacher=torch.where(rows & self.present, self.teacher, absent))


@dataclass
class FullStates:
    """The padded layout laid open, for methods that score every position, padding included.

    hidden: (B,R,T,D) after the final norm; input_ids, real: (B,R,T).
    """

    hidden: Tensor
    input_ids: Tensor
    real: Tensor

    def last(self) -> Tensor:
        """(B,R,D), the state at each row's last real token (zeros for absent rows)."""
        index = (self.real.sum(-1) - 1).clamp_min(0)  # (B,R)
        index = index[..., None, None].expand(*index.shape, 1, self.hidden.shape[-1])
        return self.hidden.gather(2, index).squeeze(2)


@dataclass
class Output:
    """What `Student.forward` returns; what was not in `needs` is None.

    nll: (B,R) nats a target token, with gradient, 0 where absent. With target "answer" and
        context "question" a question has one row and R is 1.
    token_nll, token_rank: (B,R,T) over target tokens, 0 beyond a row's end.
    states: (B,R,D) detached. answer_gain: (B,R,S) detached, NaN where a step is not open.
    logits: (B,R,T,V) at the positions that were asked for. lengths: (B,R) target tokens.
    """

    nll: Tensor
    lengths: Tensor
    token_nll: Tensor | None = None
    token_rank: Tensor | None = None
    states: Tensor | None = None
    answer_gain: Tensor | None = None
    logits: Tensor | None = None
    full: FullStates | None = None


@dataclass
class Step:
    """One step's result: loss (scalar with gradient), weights (B,R) detached, what to record."""

    loss: Tensor
    weights: Tensor | None = None
    nll: Tensor | None = None
    scores: Mapping[str, Tensor] = field(default_factory=dict)
    logs: Mapping[str, float] = field(default_factory=dict)


def uniform(present: Tensor) -> Tensor:
    """(B,R) float32: 1 / (rationales present), 0 where absent."""
    count = present.sum(-1, keepdim=True).clamp_min(1)
    return present.to(torch.float32) / count


class Distiller(ABC):
    """One way of using several teachers. A method overrides the narrowest hook that it needs.

    The runner owns data, order, optimizer, schedule, budget, evaluation and records, so that
    methods differ in the method only.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    reference: ClassVar[str]
    bibtex: ClassVar[str] = ""
    uses_gold: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset()
    layout: ClassVar[str] = "any"
    seeded: ClassVar[bool] = True
    lora_dropout: ClassVar[float] = 0.0

    class Config(BaseModel):
        """Hyper-parameters; `Annotated[float, Tunable(0, 3)]` makes one tunable."""

        model_config = ConfigDict(extra="forbid", frozen=True)

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
        found = [h for h in MATH_HOOKS if getattr(cls, h) is not getattr(Distiller, h)]
        return " + ".join(found) or "none"

    def skip(self, run: Run) -> str | None:
        """A reason why the method can't run here (no human rationale, ...), or None."""
        return None

    def select(self, bank: RationaleBank, student: Student) -> RationaleBank:
        """Choose or filter rationales before training; human ones never enter by default."""
        return bank.only_teachers(bank.teachers)

    def rows(self, batch: Batch) -> Tensor:
        """(B,R) bool: what is read at this step. Unread rationales cost nothing."""
        return batch.present

    def weights(self, out: Output, batch: Batch) -> Tensor:
        """(B,R) detached; rows sum to 1 over what is read."""
        return uniform(batch.present)

    def loss(self, student: Student, batch: Batch) -> Step:
        """sum_r w_r * nll_r, mean over questions."""
        batch = batch.restrict(self.rows(batch))
        out = student.forward(batch, needs=self.needs)
        weights = self.weights(out, batch).detach()
        loss = (weights * out.nll).sum(-1).mean()
        return Step(loss=loss, weights=weights, nll=out.nll.detach())

    def backward(self, student: Student, batch: Batch) -> Step:
        """Leave the step's gradient in the student's trainable parameters."""
        step = self.loss(student, batch)
        step.loss.backward()
        return step

    def fit(self, trainer: Trainer) -> None:
        """The whole procedure; branch-and-merge methods call `trainer.run` several times."""
        trainer.run(self)

    def decoding(self) -> Decoding:
        """How the trained student is asked; default: rationale, then answer, in one pass."""
        return Decoding()

    def parameters(self) -> list[Tensor]:
        """Parameters of the method's own, trained with the student's."""
        return []

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors that a checkpoint must hold."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes back what `state_dict` gave."""


__all__ = [
    "Annotated",
    "BaseModel",
    "Batch",
    "Context",
    "Decoding",
    "Distiller",
    "FullStates",
    "Output",
    "PromptKind",
    "Run",
    "Step",
    "Target",
    "Tunable",
    "adaptability",
    "consensus",
    "fusion",
    "torch",
    "uniform",
]
