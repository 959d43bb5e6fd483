"""Two tasks told apart by a prefix: predict the answer, explain it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from compact_bench.api import Batch, Decoding, Distiller, Step, Tunable, uniform


class DistillingStepByStep(Distiller):
    """loss = alpha CE(a given [predict] q) + (1 - alpha) 1/R sum_r CE(r given [explain] q).

    CE in nats a token, mean over questions; a is the gold answer, r a rationale without its
    answer. Hsieh et al., "Distilling Step-by-Step!", ACL Findings 2023; alpha = 0.5 is what their
    code recommends. There one teacher, here the mean over teachers. The student is asked to
    [predict], without a rationale, as in the paper; `decode: explain` shows the other mode: the
    rationale first, the answer in a pass of its own.
    """

    name = "distilling_step_by_step"
    version = 1
    reference = "arXiv:2305.02301"
    bibtex = """@inproceedings{hsieh2023distilling,
  title={Distilling Step-by-Step! Outperforming Larger Language Models with Less Training Data and
         Smaller Model Sizes},
  author={Hsieh, Cheng-Yu and Li, Chun-Liang and Yeh, Chih-Kuan and Nakhost, Hootan and
          Fujii, Yasuhisa and Ratner, Alexander and Krishna, Ranjay and Lee, Chen-Yu and
          Pfister, Tomas},
  booktitle={Findings of ACL},
  year={2023},
  eprint={2305.02301},
  archivePrefix={arXiv}
}"""
    uses_gold = True

    class Config(Distiller.Config):
        """alpha: the answer's share of the loss. decode: which task a test question is."""

        alpha: Annotated[float, Field(ge=0, le=1), Tunable(0, 1)] = 0.5
        decode: Literal["predict", "explain"] = "predict"

    def loss(self, student, batch: Batch) -> Step:
        """Two forwards: one row a question, and one a rationale."""
        predict = student.forward(batch, target="answer", prompt="predict").nll[:, 0]  # (B,)
        explain = student.forward(batch, target="rationale", prompt="explain").nll  # (B,R)
        weights = uniform(batch.present)
        alpha = self.config.alpha
        loss = alpha * predict + (1 - alpha) * (weights * explain).sum(-1)
        return Step(
            loss=loss.mean(),
            weights=weights,
            nll=explain.detach(),
            logs={"answer_nll": float(predict.detach().mean())},
        )

    def decoding(self) -> Decoding:
        """One pass that answers at once, or the rationale and then the answer."""
        explains = self.config.decode == "explain"
        return Decoding(prompt=self.config.decode, passes=2 if explains else 1)
