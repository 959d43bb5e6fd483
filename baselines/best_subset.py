"""All teachers, or all but the one whose absence the dev split likes best."""

from __future__ import annotations

from compact_bench.api import Batch, BestBranch


class BestSubset(BestBranch):
    """loss = 1/R sum_r NLL_r over all teachers but k*, k* = argmax_k score(theta_without k).

    K + 1 branches: nobody left out, and each teacher left out in turn; score: the gold answer's
    marginal NLL on the dev split, negated (nats), or the accuracy there, as `by` says. A question
    that only the left-out teacher answered keeps that rationale. What choosing takes of the
    budget, and what is counted, `BestBranch` says. One step of backward elimination; own row, no
    source.
    """

    name = "best_subset"
    version = 1
    reference = "none"
    left_out = -1  # the teacher's index; of absent rationales, where nobody is left out

    def branches(self, teachers: int) -> int:
        """Everybody, and one for each teacher that is left out."""
        return teachers + 1

    def train(self, trainer, branch: int, stage: str, part) -> None:
        """Trains as `average` does, without one teacher from the second branch on."""
        self.left_out = branch - 1
        trainer.run(self, stage=stage, part=part)

    def rows(self, batch: Batch):
        """(B,R) bool: what others than the left-out teacher wrote, else what there is."""
        others = batch.present & (batch.teacher != self.left_out)
        return others | (batch.present & ~others.any(-1, keepdim=True))
