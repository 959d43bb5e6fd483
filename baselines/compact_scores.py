"""COMPACT's scores under the untrained student, recorded in one pass; nothing is trained."""

from __future__ import annotations

from compact_bench.api import Batch, ByCompatibility, Run, Step, adaptability, consensus, torch


class CompactScores(ByCompatibility):
    """Records each score, and parts of scores, of every rationale.

    adaptability (and what the rationale adds to the gold answer's likelihood: the gain of its open
    steps, and uncut, with those after the answer is given away), consensus (and from
    states alone, from answers alone), difficulty, and the weights that they come to. What tells
    sound rationales from faulty ones is then read off one scoring pass.
    """

    name = "compact_scores"
    version = 2  # 2: the scores of version 2 of compact
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
            gain = parts.pop("gain")
            step = Step(out.nll.mean(), weights, out.nll, parts, gain, self.config.kappa)
            trainer.record(batch, step)

    @staticmethod
    def _parts(student, batch: Batch, out, centre) -> dict:
        """(B,R) each: parts of the scores that can be told apart; and the steps' gains (B,R,S)."""
        with torch.no_grad():
            gain, uncut = (
                student.forward(batch, needs={need}).answer_gain
                for need in ("answer_gain", "answer_gain:uncut")
            )
        parts = {
            "adaptability_gain": adaptability.net_gain(gain),
            "adaptability_uncut": adaptability.net_gain(uncut),
            "gain": gain,
        }
        for name, mix in (("consensus_states", 0.0), ("consensus_answers", 1.0)):
            graph = consensus.agreement_graph(out.states, batch.answers, batch.present, centre, mix)
            parts[name] = consensus.centrality(graph, batch.present)
        return parts
