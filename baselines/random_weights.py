"""Weights drawn at random, afresh at every step."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from compact_bench.api import Batch, Distiller, Tunable, torch


class RandomWeights(Distiller):
    """loss = sum_k w_k NLL_k with w ~ Dirichlet(c, ..., c) over the rationales present.

    A weighting method that is not better has found nothing in the weights. Lin, Ye, Zhang & Tsang,
    "Reasonable Effectiveness of Random Weighting", TMLR 2022, draw one weight a task and step; here
    `per: batch` does that (one weight a teacher) and `per: question` draws for each question. They
    take the softmax of standard normal numbers; the Dirichlet distribution has the same mean, and
    c = 1 is uniform over all weights.
    """

    name = "random_weights"
    version = 1
    reference = "arXiv:2111.10603"
    bibtex = """@article{lin2022reasonable,
  title={Reasonable Effectiveness of Random Weighting: A Litmus Test for Multi-Task Learning},
  author={Lin, Baijiong and Ye, Feiyang and Zhang, Yu and Tsang, Ivor W.},
  journal={Transactions on Machine Learning Research},
  year={2022},
  eprint={2111.10603},
  archivePrefix={arXiv}
}"""

    class Config(Distiller.Config):
        """concentration: c; the larger, the closer to equal weights."""

        concentration: Annotated[float, Field(ge=0.05), Tunable(0.1, 10, log=True)] = 1.0
        per: Literal["batch", "question"] = "question"

    def weights(self, out, batch: Batch):
        """(B,R), drawn with the batch's generator."""
        import numpy as np  # here, for `list methods` would wait for it

        seed = int(torch.randint(2**62, (), generator=batch.generator))
        draw = np.random.default_rng(seed)  # torch has no public gamma draw with a generator
        teacher, c = batch.teacher.cpu(), self.config.concentration
        if self.config.per == "batch":
            by_teacher = torch.from_numpy(draw.gamma(c, size=max(len(batch.teachers), 1)))
            drawn = by_teacher[teacher.clamp_min(0)]  # (B,R)
        else:
            drawn = torch.from_numpy(draw.gamma(c, size=tuple(teacher.shape)))
        drawn = drawn * (teacher >= 0)
        share = drawn / drawn.sum(-1, keepdim=True).clamp_min(1e-300)  # in float64
        return share.to(torch.float32).to(batch.teacher.device)
