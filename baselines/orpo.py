"""Right rationales learned, and preferred to wrong ones, at once: odds ratio preferences."""

from __future__ import annotations

from pydantic import Field

from compact_bench.api import Annotated, Batch, Distiller, Step, Tunable, torch, uniform

CERTAIN = 1e-6  # nats a token; the odds of a likelihood of 1 are infinite


class ORPO(Distiller):
    """loss = mean_i NLL_i + lambda mean_ij -log sigma(o_i - o_j), mean over questions.

    i runs over a question's rationales that end in the gold answer, j over the others; o_r =
    log p_r - log(1 - p_r) with log p_r = -NLL_r, nats a token. A question without a wrong rationale
    has the first term alone, one without a right one adds nothing.

    lambda = 0.1 is the source's, which has one pair a question, and no reference model.

    Cost: none but the training pass itself.
    """

    name = "orpo"
    version = 1
    reference = "arXiv:2403.07691"
    bibtex = """@inproceedings{hong2024orpo,
  title={{ORPO}: Monolithic Preference Optimization without Reference Model},
  author={Hong, Jiwoo and Lee, Noah and Thorne, James},
  booktitle={Proceedings of EMNLP},
  year={2024},
  eprint={2403.07691},
  archivePrefix={arXiv}
}"""
    uses_gold = True

    class Config(Distiller.Config):
        """mix: lambda."""

        mix: Annotated[float, Field(ge=0), Tunable(0.01, 1, log=True)] = 0.1

    def rows(self, batch: Batch):
        """(B,R) bool: all of the questions that have a right rationale."""
        return batch.present & batch.right.any(-1, keepdim=True)

    def loss(self, student, batch: Batch) -> Step:
        """One forward gives both terms."""
        right, batch = batch.right, batch.restrict(self.rows(batch))
        weights = uniform(right)  # (B,R)
        if not bool(batch.present.any()):
            return Step(loss=weights.sum(), weights=weights, nll=weights)
        out = student.forward(batch)
        odds = log_odds(out.nll)  # (B,R)
        pairs = right[:, :, None] & (batch.present & ~right)[:, None, :]  # (B,R,R)
        ratio = -torch.nn.functional.logsigmoid(odds[:, :, None] - odds[:, None, :]) * pairs
        ratio = ratio.sum((-2, -1)) / pairs.sum((-2, -1)).clamp_min(1)  # (B,)
        loss = (weights * out.nll).sum(-1) + self.config.mix * ratio
        return Step(
            loss=loss.mean(),
            weights=weights,
            nll=out.nll.detach() * right,
            logs={"odds_ratio_loss": float(ratio.detach().mean())},
        )


def log_odds(nll):
    """log p - log(1 - p) for log p = -nll, nats."""
    nll = nll.clamp_min(CERTAIN)
    return -nll - torch.log(-torch.expm1(-nll))
