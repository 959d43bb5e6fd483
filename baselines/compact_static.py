"""A null of COMPACT: one weight a teacher, the same for all questions and steps."""

from __future__ import annotations

from compact_bench.api import Batch, Distiller, Run, torch


class CompactStatic(Distiller):
    """w_k = another run's mean weight of teacher k, scaled to sum to 1 over those present.

    Keeps which teachers are favoured, and drops that it depends on question and time.
    """

    name = "compact_static"
    version = 1
    reference = "none"
    uses_gold = True  # the weights that it averages come from a method that does

    class Config(Distiller.Config):
        """weights_from: the run id of another cell, or in a suite the label of its row."""

        weights_from: str = ""

    def skip(self, run: Run) -> str | None:
        """Skips where no run is named."""
        return None if self.config.weights_from else "weights_from names no run"

    def fit(self, trainer) -> None:
        """Averages the recorded weights, then trains."""
        self.means = trainer.recorded_weights(self.config.weights_from).by_teacher()
        trainer.run(self)

    def weights(self, out, batch: Batch):
        """(B,R): the teachers' means."""
        means = torch.tensor([self.means.get(name, 0.0) for name in batch.teachers])
        weights = means.to(batch.teacher.device)[batch.teacher.clamp_min(0)] * batch.present
        return weights / weights.sum(-1, keepdim=True).clamp_min(1e-30)
