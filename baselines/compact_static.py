"""A null of COMPACT: one weight a teacher, the same for all questions and steps."""

from __future__ import annotations

from compact_bench.api import Batch, FromRecorded, torch


class CompactStatic(FromRecorded):
    """w_k = another run's mean weight of teacher k, scaled to sum to 1 over those present.

    Keeps which teachers are favoured, and drops that it depends on question and time.
    """

    name = "compact_static"
    version = 1
    reference = "none"
    by_step = False

    def weights(self, out, batch: Batch):
        """(B,R): the teachers' means."""
        means = self.recorded.by_teacher
        by_index = torch.tensor([means.get(name, 0.0) for name in batch.teachers])
        weights = by_index.to(batch.teacher.device)[batch.teacher.clamp_min(0)] * batch.present
        return weights / weights.sum(-1, keepdim=True).clamp_min(1e-30)
