"""A null of COMPACT: each question trained with the weights of another one."""

from __future__ import annotations

from compact_bench.api import Batch, Distiller, Run


class CompactPermuted(Distiller):
    """w = the weights that another run gave to another question in the same epoch.

    Keeps which teachers are favoured, how strongly and when; drops that it depends on the
    question. Questions change places only with those that have the same teachers.
    """

    name = "compact_permuted"
    version = 1
    reference = "none"
    uses_gold = True  # the weights that it moves come from a method that does

    class Config(Distiller.Config):
        """weights_from: the run id of another cell, or in a suite the label of its row."""

        weights_from: str = ""

    def skip(self, run: Run) -> str | None:
        """Skips where no run is named."""
        return None if self.config.weights_from else "weights_from names no run"

    def fit(self, trainer) -> None:
        """Moves the recorded weights among questions, then trains."""
        recorded = trainer.recorded_weights(self.config.weights_from)
        self.recorded = recorded.among_questions(trainer.seed)
        trainer.run(self)

    def weights(self, out, batch: Batch):
        """(B,R): what was recorded for the question that this one changed places with."""
        return self.recorded.of(batch)
