"""A null of COMPACT: weights of the student before training, once and for all."""

from __future__ import annotations

from compact_bench.api import Axes, Batch, Compatibility, Distiller, torch


class CompactFrozen(Distiller):
    """w = COMPACT's weights under the untrained student, the same in every epoch.

    Keeps that weights depend on question and teacher; drops that they follow the student while it
    learns. One scoring pass over all questions comes first, and its tokens count.
    """

    name = "compact_frozen"
    version = 1
    reference = "none"
    uses_gold = True
    needs = frozenset({"states", "answer_gain"})

    class Config(Axes):
        """The settings of `Axes`."""

    def __init__(self, config=None) -> None:
        super().__init__(config)
        self.uses_gold = "adaptability" in self.config.betas

    def fit(self, trainer) -> None:
        """Scores every question with the student as it is, then trains."""
        compatibility = Compatibility(self.config)
        passed = []
        with torch.no_grad():
            for batch in trainer.batches():
                out = trainer.student.forward(batch, needs=compatibility.needs(trainer.student))
                compatibility.observe(batch, out)
                passed.append((batch, out))
            # In a second round, so that the first questions are measured against all of them.
            scored = [(b, compatibility.scores(trainer.student, b, out)) for b, out in passed]
            for batch, scores in scored:
                compatibility.observe_spread(scores, batch.present)
            self.frozen = {
                key: weight
                for batch, scores in scored
                for key, weight in _by_rationale(
                    batch, compatibility.weights(scores, batch.present)
                ).items()
            }
        trainer.run(self)

    def weights(self, out, batch: Batch):
        """(B,R): what the scoring pass gave."""
        found = _by_rationale(batch, torch.zeros(batch.teacher.shape))
        weights = torch.zeros(batch.teacher.shape)
        for (b, r), key in zip(batch.present.nonzero().tolist(), found, strict=True):
            weights[b, r] = self.frozen[key]
        weights = weights.to(batch.teacher.device)
        return weights / weights.sum(-1, keepdim=True)


def _by_rationale(batch: Batch, values) -> dict:
    """(question, teacher, sample) -> value, of what is present, in the batch's order."""
    return {
        (batch.question_id[b], int(batch.teacher[b, r]), int(batch.sample[b, r])): float(
            values[b, r]
        )
        for b, r in batch.present.nonzero().tolist()
    }
