"""The plain average, with a share of examples of what the student knew before."""

from __future__ import annotations

from pydantic import Field

from compact_bench.api import Annotated, Batch, Distiller, Run, Step, Tunable


class Rehearsal(Distiller):
    """loss = (1 - share) 1/R sum_r NLL_r + share mean_i NLL(old_i), mean over questions.

    old_i: as many old examples as the batch has questions, drawn afresh for each batch, nats a
    target token. Old examples are what the student was pre-trained on, none of them a question of
    any task. share = 0 is `average`, and reads no old example; 0.2 is ours, no source's.

    Rolnick et al., NeurIPS 2019, mix stored experience of old tasks into reinforcement learning;
    this is the same idea for supervised training, without their cloning of earlier outputs
    (`kl_to_base` holds the student to those).

    Cost: a row more for each question, forward and backward. Its tokens count, and are no
    teacher's.
    """

    name = "rehearsal"
    version = 1
    reference = "arXiv:1811.11682"
    bibtex = """@inproceedings{rolnick2019experience,
  title={Experience Replay for Continual Learning},
  author={Rolnick, David and Ahuja, Arun and Schwarz, Jonathan and Lillicrap, Timothy and
          Wayne, Gregory},
  booktitle={Advances in Neural Information Processing Systems},
  volume={32},
  year={2019},
  eprint={1811.11682},
  archivePrefix={arXiv}
}"""

    class Config(Distiller.Config):
        """share: of the old examples in the loss."""

        share: Annotated[float, Field(ge=0, le=1), Tunable(0, 1)] = 0.2

    def skip(self, run: Run) -> str | None:
        """Skips where there is nothing to rehearse."""
        if self.config.share and not run.old:
            return "no examples of what the student knew are at hand"
        return None

    def fit(self, trainer) -> None:
        """Remembers where old examples come from, then trains."""
        self.old_batch = trainer.old_batch
        trainer.run(self)

    def loss(self, student, batch: Batch) -> Step:
        """A forward for the rationales and one for the old examples."""
        step = super().loss(student, batch)
        share = self.config.share
        if share:
            old = self.old_batch(batch.generator, len(batch.questions))
            nll = student.forward(old).nll[old.present].mean()
            step.loss = (1 - share) * step.loss + share * nll
            step.logs = {"old_nll": float(nll.detach())}
        return step
