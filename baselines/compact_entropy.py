"""A null of COMPACT: its weights, given to rationales at random."""

from __future__ import annotations

from compact_bench.api import Batch, FromRecorded, controls


class CompactEntropy(FromRecorded):
    """w = the weights that another run gave this question at this step, in a random order.

    Keeps how unequal the weights are (their entropy), and nothing of whom they favour: what is
    left of a gain is the gain of unequal weights.
    """

    name = "compact_entropy"
    version = 1
    reference = "none"

    def weights(self, out, batch: Batch):
        """(B,R): the recorded weights, shuffled with the batch's generator."""
        return controls.shuffled(self.recorded.of(batch), batch.present, batch.generator)
