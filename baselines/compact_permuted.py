"""A null of COMPACT: each question trained with the weights of another one."""

from __future__ import annotations

from compact_bench.api import FromRecorded


class CompactPermuted(FromRecorded):
    """w = the weights that another run gave to another question in the same epoch.

    Keeps which teachers are favoured, how strongly and when; drops that it depends on the
    question. Questions change places only with those that have the same teachers.
    """

    name = "compact_permuted"
    version = 1
    reference = "none"
    uses_gold = True  # the weights that it moves come from a method that does

    def changed(self, recorded, trainer):
        """The recorded weights, moved among questions."""
        return recorded.among_questions(trainer.seed)
