"""Each teacher's weight learned as the precision of its loss."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated

from pydantic import Field

from compact_bench.api import Batch, Distiller, Step, Tunable, torch


class Uncertainty(Distiller):
    """loss = sum_k exp(-s_k) NLL_k + s_k / 2, mean over questions; s_k is learned, 0 at the start.

    s_k = log sigma_k^2; at a minimum sigma_k^2 is twice teacher k's mean loss, so that a teacher
    that the student can't learn loses weight. The weights exp(-s_k) don't sum to 1: what they sum
    to (`weight_sum`, R at the start) multiplies the learning rate; the recorded weights are their
    shares. s_k = rate * theta_k, and the student's optimizer moves theta by about its learning
    rate a step, so `rate` multiplies the learning rate of s; 1 is the source's. Kendall, Gal &
    Cipolla, "Multi-Task Learning Using Uncertainty", CVPR 2018 (their form for classification).
    """

    name = "uncertainty"
    version = 1
    reference = "arXiv:1705.07115"
    bibtex = """@inproceedings{kendall2018multi,
  title={Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry and Semantics},
  author={Kendall, Alex and Gal, Yarin and Cipolla, Roberto},
  booktitle={Proceedings of CVPR},
  year={2018},
  eprint={1705.07115},
  archivePrefix={arXiv}
}"""

    class Config(Distiller.Config):
        """teachers: how many, filled in from the run. rate: of s, in learning rates."""

        teachers: Annotated[int, Field(ge=0)] = 0
        rate: Annotated[float, Field(gt=0), Tunable(1, 1000, log=True)] = 1.0

    @classmethod
    def variants(cls, config, teachers: Sequence[str]) -> list:
        """One row; its parameters must be there before the optimizer is made."""
        return [config.model_copy(update={"teachers": len(teachers)})]

    @cached_property
    def theta(self):
        """(K,) float32, trained with the student."""
        return torch.nn.Parameter(torch.zeros(self.config.teachers))

    def loss(self, student, batch: Batch) -> Step:
        """One forward; a teacher's rationales share its s."""
        batch = batch.restrict(self.rows(batch))
        out = student.forward(batch)
        s = self.config.rate * self.theta.to(out.nll.device)[batch.teacher.clamp_min(0)]  # (B,R)
        precision = torch.exp(-s.detach()) * batch.present
        total = precision.sum(-1, keepdim=True)
        return Step(
            loss=uncertainty_loss(out.nll, s, batch.present).mean(),
            weights=precision / total,
            nll=out.nll.detach(),
            logs={"weight_sum": float(total.mean())},
        )

    def parameters(self) -> list:
        """theta."""
        return [self.theta]


def uncertainty_loss(nll, s, present):
    """sum_r exp(-s_r) NLL_r + s_r / 2 over what is present. All (B,R) -> (B,)."""
    return ((torch.exp(-s) * nll + s / 2) * present).sum(-1)
