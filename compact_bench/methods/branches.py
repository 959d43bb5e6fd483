"""Methods that train a branch for each teacher, and make one student of them or keep the best."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from compact_bench.methods.base import Distiller, MethodTrainer, Run
from compact_bench.student.batch import DevMeasure

if TYPE_CHECKING:
    from torch import Tensor


class MergedBranches(Distiller):
    """A branch for each teacher from the same start, and one state made of their ends. No row.

    The loss of a branch is CE(r_k + a_k given q), nats a token, with an optimizer and a schedule
    of its own. budget "matched": all branches together take the optimizer steps (or FLOPs) of
    another row; branch k reads the questions of the k-th K-th of the row's order. "own": every
    branch takes that many, so is `single_teacher`'s row, and the tokens in all are those of
    `average`.
    """

    class Config(Distiller.Config):
        """budget: of all branches together, or of each."""

        budget: Literal["matched", "own"] = "matched"

    def skip(self, run: Run) -> str | None:
        """Skips where there are fewer optimizer steps than branches to give one each."""
        if self.config.budget == "matched" and run.steps < len(run.teachers):
            if not run.by_flops:
                return f"{len(run.teachers)} branches for {run.steps} optimizer steps"
        return None

    def fit(self, trainer: MethodTrainer) -> None:
        """Trains the branches one after the other, then merges them."""
        student = trainer.student
        start, count = student.state_dict(), len(trainer.teachers)
        ends = []
        for k in range(count):
            student.load_state_dict(start)
            part = (k / count, (k + 1) / count) if self.config.budget == "matched" else (0.0, 1.0)
            trainer.run(self, stage=f"teacher-{k}", part=part, teacher=k)
            ends.append(student.state_dict())
        student.load_state_dict(self.merged(start, ends, trainer))

    @abstractmethod
    def merged(
        self,
        start: Mapping[str, Tensor],
        ends: Sequence[Mapping[str, Tensor]],
        trainer: MethodTrainer,
    ) -> Mapping[str, Tensor]:
        """The merged state. ends: the trained parameters of each branch, in teachers' order."""


class BestBranch(Distiller):
    """Branches from the same start, of which the one with the best dev score is kept. No row.

    score: the gold answer's marginal NLL on the dev split, negated (nats), or the accuracy there,
    as `by` says. The NLL is the default: accuracy on 50 questions has a standard error of up to 7
    points, and it may be at its floor for every branch where the student is small. Of equal
    scores the first branch's counts.

    budget "matched": choosing takes the first half of a row's optimizer steps (or FLOPs), equal
    shares of it the branches; then the winner is trained from the start for the other half.
    "own": each branch takes the whole budget, and the best one's weights are kept. Dev scores and
    branches that are thrown away are in the row's tokens and FLOPs, and in its selection tokens.
    Where the budget is in FLOPs, the winner's half pays for the dev scores.
    """

    uses_gold = True

    class Config(Distiller.Config):
        """budget: of all branches together, or of each. by: the dev score. questions: of dev."""

        budget: Literal["matched", "own"] = "matched"
        by: DevMeasure = "marginal_nll"
        questions: Annotated[int, Field(ge=1)] = 50

    @abstractmethod
    def branches(self, teachers: int) -> int:
        """How many branches there are for so many teachers."""

    @abstractmethod
    def train(
        self, trainer: MethodTrainer, branch: int, stage: str, part: tuple[float, float]
    ) -> None:
        """Train a branch for a part of the row's budget."""

    def skip(self, run: Run) -> str | None:
        """Skips without dev questions, or where a branch would train nothing."""
        if not run.dev:
            return "no dev question to choose by"
        count = self.branches(len(run.teachers))
        if self.config.budget == "matched" and run.steps < 2 * count and not run.by_flops:
            return (
                f"choosing among {count} branches takes {2 * count} optimizer steps, "
                f"there are {run.steps}"
            )
        return None

    def fit(self, trainer: MethodTrainer) -> None:
        """Trains all branches, scores them all, then keeps or trains the best."""
        student, matched = trainer.student, self.config.budget == "matched"
        start, count = student.state_dict(), self.branches(len(trainer.teachers))
        ends, tokens = [], []
        for branch in range(count):
            student.load_state_dict(start)
            before = student.cost.tokens
            part = (branch / (2 * count), (branch + 1) / (2 * count)) if matched else (0.0, 1.0)
            self.train(trainer, branch, f"branch-{branch}", part)
            ends.append(student.state_dict())
            tokens.append(student.cost.tokens - before)
        scores = []
        for end in ends:
            student.load_state_dict(end)
            scores.append(trainer.dev_score(self.config.by, self.config.questions))
        best = scores.index(max(scores))
        student.cost.discard(sum(tokens) - (0 if matched else tokens[best]))
        student.load_state_dict(start if matched else ends[best])
        if matched:
            self.train(trainer, best, "winner", (0.5, 1.0))
