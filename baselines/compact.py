"""COMPACT with the known faults of its release mended; every choice is a setting."""

from __future__ import annotations

from typing import Literal

from compact_bench.api import Axes, Batch, ByCompatibility, Step, fusion, uniform


class Compact(ByCompatibility):
    """loss = sum_r w_r NLL_r (+ lambda sum_{i<j} w_i w_j D(i,j)), mean over questions.

    w = (1 - floor) softmax(u / tau) + floor / R,  u = b1 z(M) + b2 z(C) + b3 z(D), detached:
    M adaptability, how likely the rationale is after its question, less half of how likely it is
    after another, nats a token; C consensus, strength in the graph of the question's rationales;
    D difficulty, which falls off above the losses of the easier rationales seen lately. z is the
    distance from the question's mean, in units of the running spread within questions. `Axes` says
    what each setting does; docs/compact.md works an example. `scores: []` is the plain average.
    """

    name = "compact"
    version = 2  # 2: other adaptability and difficulty, the cut before the answer by value
    reference = "arXiv:2601.13992"
    bibtex = """@misc{cui2026whole,
  title={"The Whole Is Greater Than the Sum of Its Parts": A Compatibility-Aware Multi-Teacher
         CoT Distillation Framework},
  author={Cui, Jin and Guo, Jiaqi and Zhou, Jiepeng and Yang, Ruixuan and Lu, Jiayi and
          Xu, Jiajun and Song, Jiangcheng and Zhao, Boran and Ren, Pengju},
  year={2026},
  eprint={2601.13992},
  archivePrefix={arXiv}
}"""

    class Config(Axes):
        """All of `Axes`, and the consistency term: over which span, and its lambda."""

        consistency: Literal["off", "answer", "sequence"] = "off"
        consistency_weight: float = 0.1
        smallest_pair: float = 1e-4

    def loss(self, student, batch: Batch) -> Step:
        """One forward gives the loss and the scores, and the scores the weights."""
        batch = batch.restrict(self.rows(batch))
        span = {"off": set(), "answer": {"logits:answer"}, "sequence": {"logits:all", "full"}}
        needs = self.compatibility.needs(student) | span[self.config.consistency]
        out = student.forward(batch, needs=needs)
        scores: dict = {}
        weights = uniform(batch.present)
        if out.nll.isfinite().all():  # else the trainer says that the run diverged
            scores, weights = self.compatibility.weigh(student, batch, out)
        loss = (weights * out.nll).sum(-1).mean()
        if self.config.consistency != "off":
            loss = loss + self.config.consistency_weight * self._consistency(batch, out, weights)
        return Step(
            loss=loss,
            weights=weights,
            nll=out.nll.detach(),
            scores=scores,
            gains=out.answer_gain,
            kappa=self.config.kappa,
            logs={"effective_teachers": float(fusion.effective_number(weights).mean())},
        )

    def _consistency(self, batch, out, weights):
        """Mean over questions of the divergence between the rationales' predictions, nats."""
        whole = self.config.consistency == "sequence"
        real = out.full.real if whole else batch.answer_tokens(out.lengths)  # (B,R,T)
        return fusion.question_consistency(
            out.logits, real, weights, batch.present, self.config.smallest_pair
        ).mean()

    def state_dict(self):
        """The running statistics."""
        return self.compatibility.state_dict()

    def load_state_dict(self, state) -> None:
        """Takes them back."""
        self.compatibility.load_state_dict(state)
