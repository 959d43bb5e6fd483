"""Fine-tuning on the rationales that people wrote."""

from __future__ import annotations

from compact_bench.api import Distiller, Run


class HumanSFT(Distiller):
    """loss = CE(r_human + a given q), nats a token, mean over questions."""

    name = "human_sft"
    version = 1
    reference = "none"
    uses_gold = True

    def skip(self, run: Run) -> str | None:
        """Skips where the data set has no human rationale."""
        if run.bank.humans().rationales.empty:
            return "the data set has no human rationales"
        return None

    def select(self, bank, student):
        """The human rationales instead of the teachers'."""
        return bank.humans()
