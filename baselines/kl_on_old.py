"""The plain average, held to the student's earlier predictions on old examples."""

from __future__ import annotations

from pydantic import Field

from compact_bench.api import Annotated, Batch, Distiller, Run, Step, Tunable, fusion


class KLOnOld(Distiller):
    """loss = 1/R sum_r NLL_r + beta mean_i KL(p_0, p; old_i), mean over questions.

    KL = mean over the target tokens of an old text of KL(p_0^T(. | ...), p^T(. | ...)), nats a
    token, p_0 the student before training, both distributions from logits over T. As many old
    texts as the batch has questions, drawn afresh for each batch, the same that `rehearsal` reads:
    there their tokens are the target, here the student's own distribution is. `kl_to_base` has
    the term on the new texts, as Learning without Forgetting has it, for whom old data are out of
    reach. T = 2 and beta = 1 are theirs (Li & Hoiem, ECCV 2016: temperature and lambda_o).

    Cost: for each question a row more forward and backward, another without gradient, and the
    logits of both. Their tokens count, and are no teacher's.
    """

    name = "kl_on_old"
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

    class Config(Distiller.Config):
        """beta: weight of the divergence. temperature: T."""

        beta: Annotated[float, Field(ge=0), Tunable(0.01, 100, log=True)] = 1.0
        temperature: Annotated[float, Field(gt=0), Tunable(0.5, 5)] = 2.0

    def skip(self, run: Run) -> str | None:
        """Skips where there is nothing old to be held to."""
        return None if run.old else "no examples of what the student knew are at hand"

    def fit(self, trainer) -> None:
        """Remembers the student as it is and where old examples come from, then trains."""
        trainer.student.attach_start()
        self.old_batch = trainer.old_batch
        trainer.run(self)

    def loss(self, student, batch: Batch) -> Step:
        """A forward for the rationales, and two for the old examples."""
        step = super().loss(student, batch)
        old = self.old_batch(batch.generator, len(batch.questions))
        out = student.forward(old, needs={"logits:target", "teacher_logits"})
        divergence = fusion.token_divergence(
            out.teacher_logits, out.logits, out.lengths, self.config.temperature
        ).mean()
        step.loss = step.loss + self.config.beta * divergence
        step.logs = {"kl_on_old": float(divergence.detach())}
        return step
