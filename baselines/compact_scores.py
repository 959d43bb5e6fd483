"""COMPACT's scores under the untrained student, recorded in one pass; nothing is trained."""

from __future__ import annotations

from compact_bench.api import Batch, ByCompatibility, Run, Step, adaptability, consensus, torch


class CompactScores(ByCompatibility):
    """Records each score, and parts of scores, of every rationale.

    adaptability (and uncut: with the steps after the answer is given away), consensus (and from
    states alone, from answers alone), difficulty, and the weights that they come to. What tells
    sound rationales from faulty ones is then read off one scoring pass.
    """

    name = "compact_scores"
    version = 1
    reference = "none"
    seeded = False

    def skip(self, run: Run) -> str | None:
        """Skips without the graph whose parts it tells apart."""
        if "consensus" not in self.config.betas or self.config.consensus == "attention":
            return (
                "the parts of consensus need its graph: scores must hold consensus, by centrality"
            )
        return super().skip(run)

    def fit(self, trainer) -> None:
        """Forward passes only."""
        student, compatibility = trainer.student, self.compatibility
        for batch, out, scores in compatibility.survey(student, trainer.batches()):
            weights = compatibility.weights(scores, batch.present)
            parts = {**scores, **self._parts(student, batch, out, compatibility.centre)}
            step = Step(out.nll.mean(), weights, out.nll, parts, out.answer_gain, self.config.kappa)
            trainer.record(batch, step)

    @staticmethod
    def _parts(student, batch: Batch, out, centre) -> dict:
        """(B,R) each: parts of the scores that can be told apart."""
        with torch.no_grad():
            uncut = student.forward(batch, needs={"answer_gain:uncut"}).answer_gain
        parts = {"adaptability_uncut": adaptability.net_gain(uncut)}
        for name, mix in (("consensus_states", 0.0), ("consensus_answers", 1.0)):
            graph = consensus.agreement_graph(out.states, batch.answers, batch.present, centre, mix)
            parts[name] = consensus.centrality(graph, batch.present)
        return parts
