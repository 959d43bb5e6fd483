"""The one teacher whose student is best on the dev split."""

from __future__ import annotations

from compact_bench.api import BestBranch


class BestTeacher(BestBranch):
    """theta_k*, k* = argmax_k score(theta_k), theta_k trained by CE(r_k + a_k given q) alone.

    score: the gold answer's marginal NLL on the dev split, negated (nats), or the accuracy there,
    as `by` says; of equal scores the first teacher's counts. With a budget of its own it is the
    best of `single_teacher`'s rows; what choosing takes of a matched one, and what is counted,
    `BestBranch` says.
    """

    name = "best_teacher"
    version = 1
    reference = "none"

    def branches(self, teachers: int) -> int:
        """One for each teacher."""
        return teachers

    def train(self, trainer, branch: int, stage: str, part) -> None:
        """Reads one teacher's rationales alone."""
        trainer.run(self, stage=stage, part=part, teacher=branch)
