"""The mean over teachers with COMPACT's consistency term, without its weights."""

from __future__ import annotations

from typing import Literal

from compact_bench.api import Batch, Distiller, Step, fusion, uniform


class AverageConsistency(Distiller):
    """loss = 1/R sum_r NLL_r + lambda sum_{i<j} 1/R^2 D(i,j), mean over questions.

    D is the symmetric KL divergence between two rationales' token distributions at equal
    positions, over the answer's tokens or over whole rows (as COMPACT's release does). Tells the
    term from the weighting.
    """

    name = "average_consistency"
    version = 1
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
    needs = frozenset({"logits"})

    class Config(Distiller.Config):
        """span: where predictions are compared; consistency_weight: lambda."""

        span: Literal["answer", "sequence"] = "answer"
        consistency_weight: float = 0.1
        smallest_pair: float = 1e-4

    def loss(self, student, batch: Batch) -> Step:
        """One forward; the term needs the logits of all rationales of a question at once."""
        batch = batch.restrict(self.rows(batch))
        whole = self.config.span == "sequence"
        out = student.forward(batch, needs={"logits:all", "full"} if whole else {"logits:answer"})
        weights = uniform(batch.present)
        real = out.full.real if whole else batch.answer_tokens(out.lengths)
        terms = fusion.question_consistency(
            out.logits, real, weights, batch.present, self.config.smallest_pair
        )
        loss = (weights * out.nll).sum(-1) + self.config.consistency_weight * terms
        return Step(loss=loss.mean(), weights=weights, nll=out.nll.detach())
