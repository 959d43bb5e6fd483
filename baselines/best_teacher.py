"""The one teacher whose student is best on the dev split."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from compact_bench.api import Annotated, DevMeasure, Distiller, Run


class BestTeacher(Distiller):
    """theta_k*, k* = argmax_k score(theta_k), theta_k trained by CE(r_k + a_k given q) alone.

    score: the gold answer's marginal NLL on the dev split, negated (nats), or the accuracy there,
    as `by` says. The NLL is the default: accuracy on 50 questions has a standard error of up to 7
    points, and it may be at its floor for every teacher where the student is small. Of equal
    scores the first teacher's counts.

    budget "matched": choosing takes the first half of a row's optimizer steps (or FLOPs), a K-th
    of it each branch; then the winner is trained from the start for the other half. "own": each
    branch takes the whole budget, and the best one's weights are kept, so that it is the best of
    `single_teacher`'s rows. Dev scores and branches that are thrown away are in the row's tokens
    and FLOPs, and in its selection tokens. Where the budget is in FLOPs, the winner's half pays
    for the dev scores.
    """

    name = "best_teacher"
    version = 1
    reference = "none"
    uses_gold = True

    class Config(Distiller.Config):
        """budget: of all branches together, or of each. by: the dev score. questions: of dev."""

        budget: Literal["matched", "own"] = "matched"
        by: DevMeasure = "marginal_nll"
        questions: Annotated[int, Field(ge=1)] = 50

    def skip(self, run: Run) -> str | None:
        """Skips without dev questions, or where a branch would train nothing."""
        if not run.dev:
            return "no dev question to choose by"
        pieces = 2 * len(run.teachers)
        if self.config.budget == "matched" and run.steps < pieces and not run.by_flops:
            return f"choosing among {len(run.teachers)} teachers takes {pieces} optimizer steps, " \
                   f"there are {run.steps}"  # fmt: skip
        return None

    def fit(self, trainer) -> None:
        """Trains a branch for each teacher, scores them all, then keeps or trains the best."""
        student, matched = trainer.student, self.config.budget == "matched"
        start, count = student.state_dict(), len(trainer.teachers)
        ends, tokens = [], []
        for k in range(count):
            student.load_state_dict(start)
            before = student.cost.tokens
            part = (k / (2 * count), (k + 1) / (2 * count)) if matched else (0.0, 1.0)
            trainer.run(self, stage=f"teacher-{k}", part=part, teacher=k)
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
            trainer.run(self, stage="winner", part=(0.5, 1.0), teacher=best)
