"""The weights that another run recorded, once more."""

from __future__ import annotations

from compact_bench.api import Batch, CellError, Distiller, Run, torch


class Replay(Distiller):
    """w_k of (step, question) as recorded in run `weights_from` of the same results.

    Tells the weights from everything else that a method does: its loss terms, its dropout, the
    compute it spends. The other run must have the same seed and questions.
    """

    name = "replay"
    version = 1
    reference = "none"

    class Config(Distiller.Config):
        """weights_from: the run id of a cell that has recorded weights."""

        weights_from: str = ""

    def __init__(self, config=None) -> None:
        super().__init__(config)
        self.recorded: dict = {}

    def skip(self, run: Run) -> str | None:
        """Skips where no run is named."""
        return None if self.config.weights_from else "weights_from names no run"

    def fit(self, trainer) -> None:
        """Reads the recorded weights, then trains."""
        self.recorded = trainer.recorded_weights(self.config.weights_from)
        trainer.run(self)

    def weights(self, out, batch: Batch):
        """(B,R); raises CellError for a step or question that the other run didn't have."""
        weights = torch.zeros(batch.teacher.shape)
        samples = batch.sample.tolist()
        for b, row in enumerate(batch.teacher.tolist()):
            for r, k in enumerate(row):
                if k >= 0:
                    teacher = batch.teachers[k]
                    key = (batch.step + 1, batch.question_id[b], teacher, samples[b][r])
                    weights[b, r] = self.recorded.get(key, 0.0)
            if not weights[b].any():
                raise CellError(
                    f"weights_from: run {self.config.weights_from!r} has no weights for step "
                    f"{batch.step + 1}, question {batch.question_id[b]}"
                )
        return weights.to(batch.teacher.device)
