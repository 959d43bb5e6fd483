"""The weights that another run recorded, once more."""

from __future__ import annotations

from compact_bench.api import FromRecorded


class Replay(FromRecorded):
    """w_k of (step, question) as recorded in run `weights_from` of the same results.

    Tells the weights from everything else that a method does: its loss terms, its dropout, the
    compute it spends. The other run must have the same seed and questions.
    """

    name = "replay"
    version = 1
    reference = "none"
    uses_gold = True  # as far as it can know: the recorded method may
