"""A null of COMPACT: weights of the student before training, once and for all."""

from __future__ import annotations

from compact_bench.api import Batch, ByCompatibility


class CompactFrozen(ByCompatibility):
    """w = COMPACT's weights under the untrained student, the same in every epoch.

    Keeps that weights depend on question and teacher; drops that they follow the student while it
    learns. One scoring pass over all questions comes first, and its tokens count.
    """

    name = "compact_frozen"
    version = 2  # 2: the scores of version 2 of compact
    reference = "none"

    def fit(self, trainer) -> None:
        """Scores every question with the student as it is, then trains."""
        self.frozen: dict = {}
        for batch, _, scores in self.compatibility.survey(trainer.student, trainer.batches()):
            weights = self.compatibility.weights(scores, batch.present)
            self.frozen |= batch.by_rationale(weights)
        trainer.run(self)

    def weights(self, out, batch: Batch):
        """(B,R): what the scoring pass gave."""
        weights = batch.from_rationale(self.frozen)
        return weights / weights.sum(-1, keepdim=True)
