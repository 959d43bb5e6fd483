"""The plain average, held to the student's predictions before training."""

from __future__ import annotations

from pydantic import Field

from compact_bench.api import Annotated, Batch, Distiller, Step, Tunable, fusion, uniform


class KLToBase(Distiller):
    """loss = 1/R sum_r [NLL_r + beta KL_r], mean over questions.

    KL_r = mean over the tokens t of rationale r, answer and EOS of KL(p_0(. | q, r_<t),
    p(. | q, r_<t)), nats a token: p_0 the student before training, p as it is. It is taken on the
    rows' target tokens, not on the prompts: those are the predictions that training moves, and no
    old data are needed. beta = 0 is `average`; 0.1 is ours, no source's.

    Learning without Forgetting: Li & Hoiem, ECCV 2016, there with a temperature of 2.

    Cost: a forward pass without gradient more (2N FLOPs a token), and the logits (B,R,T,V) of
    both, of which the student's are kept for the backward pass. Under LoRA p_0 is the model
    without its adapters; in full training it is a frozen copy.
    """

    name = "kl_to_base"
    version = 1
    reference = "arXiv:1606.09282"
    bibtex = """@inproceedings{li2016learning,
  title={Learning without Forgetting},
  author={Li, Zhizhong and Hoiem, Derek},
  booktitle={Proceedings of ECCV},
  year={2016},
  eprint={1606.09282},
  archivePrefix={arXiv}
}"""
    needs = frozenset({"logits:target", "teacher_logits"})

    class Config(Distiller.Config):
        """beta: weight of the divergence."""

        beta: Annotated[float, Field(ge=0), Tunable(0.01, 10, log=True)] = 0.1

    def fit(self, trainer) -> None:
        """Remembers the student as it is, then trains."""
        trainer.student.attach_start()
        trainer.run(self)

    def loss(self, student, batch: Batch) -> Step:
        """One forward with gradient and one without."""
        out = student.forward(batch, needs=self.needs)
        divergence = fusion.token_divergence(out.teacher_logits, out.logits, out.lengths)
        weights = uniform(batch.present)
        loss = (weights * (out.nll + self.config.beta * divergence)).sum(-1).mean()
        mean = float((weights * divergence.detach()).sum(-1).mean())
        return Step(loss=loss, weights=weights, nll=out.nll.detach(), logs={"kl_to_base": mean})
