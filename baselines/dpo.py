"""Right rationales preferred to wrong ones of the same question: direct preference optimisation."""

from __future__ import annotations

from pydantic import Field

from compact_bench.api import Annotated, Batch, Distiller, Step, Tunable, torch


class DPO(Distiller):
    """loss = mean_ij -log sigma(beta [(l_i - l0_i) - (l_j - l0_j)]), mean over questions.

    i runs over a question's rationales that end in the gold answer and j over the others; l is the
    log-likelihood of a rationale with its answer and EOS, nats, summed over its tokens, and l0 that
    of the reference. As in the source, the reference is the student after supervised fine-tuning on
    what is preferred: the first half of the budget trains on the right rationales, the second half
    on the pairs. A question without a pair adds nothing to the second stage, one without a right
    rationale nothing at all.

    beta = 0.1 is the source's. There a question has one pair, chosen by people.

    Cost: in the second stage a forward pass of the reference more.
    """

    name = "dpo"
    version = 1
    reference = "arXiv:2305.18290"
    bibtex = """@inproceedings{rafailov2023direct,
  title={Direct Preference Optimization: Your Language Model is Secretly a Reward Model},
  author={Rafailov, Rafael and Sharma, Archit and Mitchell, Eric and Ermon, Stefano and
          Manning, Christopher D. and Finn, Chelsea},
  booktitle={Advances in Neural Information Processing Systems},
  volume={36},
  year={2023},
  eprint={2305.18290},
  archivePrefix={arXiv}
}"""
    uses_gold = True

    class Config(Distiller.Config):
        """beta: how far the student may go from the reference; first: share of the budget that
        makes it."""

        beta: Annotated[float, Field(gt=0), Tunable(0.01, 1, log=True)] = 0.1
        first: Annotated[float, Field(gt=0, lt=1)] = 0.5

    def fit(self, trainer) -> None:
        """Makes the reference, then trains on pairs."""
        first, self.pairs = self.config.first, False
        trainer.run(self, stage="reference", part=(0.0, first))
        trainer.student.attach_start()
        self.pairs = True
        trainer.run(self, stage="preferences", part=(first, 1.0))

    def rows(self, batch: Batch):
        """(B,R) bool: right ones; of the second stage those of questions that have a pair."""
        right = batch.right
        if not self.pairs:
            return right
        wrong = batch.present & ~right
        return batch.present & right.any(-1, keepdim=True) & wrong.any(-1, keepdim=True)

    def loss(self, student, batch: Batch) -> Step:
        """The average over right rationales at first, then preferences."""
        if not self.pairs:
            return super().loss(student, batch)
        right, batch = batch.right, batch.restrict(self.rows(batch))
        if not bool(batch.present.any()):
            return Step(loss=torch.zeros(()))
        out = student.forward(batch, needs={"start_token_nll"})
        reference = out.start_token_nll.sum(-1)  # (B,R) nats
        reward = self.config.beta * (reference - out.nll * out.lengths)  # beta (l - l0)
        right, wrong = right & batch.present, ~right & batch.present
        pairs = right[:, :, None] & wrong[:, None, :]  # (B,R,R)
        losses = preference_losses(reward, pairs)
        margin = (reward.detach()[:, :, None] - reward.detach()[:, None, :])[pairs]
        logs = {"margin": float(margin.mean()), "preferred": float((margin > 0).float().mean())}
        return Step(loss=losses.mean(), logs=logs)


def preference_losses(reward, pairs):
    """(B,): mean over a question's pairs (i, j) of -log sigma(reward_i - reward_j); 0 without any.

    reward: (B,R); pairs: (B,R,R) bool, whether i is preferred to j.
    """
    gap = reward[:, :, None] - reward[:, None, :]  # (B,R,R)
    loss = -torch.nn.functional.logsigmoid(gap) * pairs
    return loss.sum((-2, -1)) / pairs.sum((-2, -1)).clamp_min(1)
