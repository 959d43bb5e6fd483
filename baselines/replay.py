"""The weights that another run recorded, once more."""

from __future__ import annotations

from compact_bench.api import Batch, Distiller, Run


class Replay(Distiller):
    """w_k of (step, question) as recorded in run `weights_from` of the same results.

    Tells the weights from everything else that a method does: its loss terms, its dropout, the
    compute it spends. The other run must have the same seed and questions.
    """

    name = "replay"
    version = 1
    reference = "none"

    class Config(Distiller.Config):
        """weights_from: the run id of another cell, or in a suite the label of its row."""

        weights_from: str = ""

    def skip(self, run: Run) -> str | None:
        """Skips where no run is named."""
        return None if self.config.weights_from else "weights_from names no run"

    def fit(self, trainer) -> None:
        """Reads the recorded weights, then trains."""
        self.recorded = trainer.recorded_weights(self.config.weights_from)
        trainer.run(self)

    def weights(self, out, batch: Batch):
        """(B,R); raises CellError for a step or question that the other run didn't have."""
        return self.recorded.of(batch)
