"""Fine-tuning on answers alone: what rationales must beat."""

from __future__ import annotations

from compact_bench.api import Batch, Distiller, Step


class AnswerSFT(Distiller):
    """loss = CE(a given q), nats a token of "The answer is {a}", mean over questions.

    The student answers in the same form, without a rationale.
    """

    name = "answer_sft"
    version = 1
    reference = "none"
    uses_gold = True

    def loss(self, student, batch: Batch) -> Step:
        """Reads the question and the gold answer only: one row a question."""
        out = student.forward(batch, target="answer")
        return Step(loss=out.nll.mean(), nll=out.nll.detach())
