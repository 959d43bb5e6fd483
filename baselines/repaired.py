"""The mean over teachers as they would be without their faults: what the faults cost."""

from __future__ import annotations

from compact_bench.api import Distiller, Run


class Repaired(Distiller):
    """loss = 1/K sum_k NLL_k over the same bank with every faulty rationale in its sound form.

    Only where the truth is known: the teacher's clean text of generated data, or what the
    rationale was before it was corrupted on purpose. repaired - average is the harm of the faults,
    repaired - oracle what is lost where faulty rationales are left out and not mended. Where all
    rationales are sound it is `average`.
    """

    name = "repaired"
    version = 1
    reference = "none"
    uses_gold = True

    def skip(self, run: Run) -> str | None:
        """Skips where nobody knows which rationales are faulty."""
        if not run.bank.faults_known:
            return "no rationale's corruption is on record: the sound texts are not known"
        return None

    def select(self, bank, student):
        """All teachers' rationales, without their faults."""
        return bank.only_teachers(bank.teachers).repaired()
