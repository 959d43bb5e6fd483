"""The mean over rationales that are known to be sound: what perfect weights could do."""

from __future__ import annotations

from compact_bench.api import Distiller, Run


class Oracle(Distiller):
    """loss = mean of NLL_k over rationales that are right and not corrupted.

    Only where the truth is known: generated data, or rationales corrupted on purpose. Questions
    without a sound rationale are left out; where all rationales are sound it is `average`.
    """

    name = "oracle"
    version = 2
    reference = "none"
    uses_gold = True

    def skip(self, run: Run) -> str | None:
        """Skips where nobody knows which rationales are faulty."""
        if not run.bank.faults_known:
            return "no rationale's corruption is on record: which are sound is not known"
        return None

    def select(self, bank, student):
        """The teachers' rationales that are right and clean."""
        teachers = bank.only_teachers(bank.teachers)
        clean = teachers.rationales["right"] & (teachers.rationales["corruption"] == "")
        return teachers.keep(clean.to_numpy())
