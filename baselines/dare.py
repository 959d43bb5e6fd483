"""Single-teacher students whose changes are thinned out at random, then averaged."""

from __future__ import annotations

from pydantic import Field

from compact_bench.api import Annotated, MergedBranches, Tunable, torch, weight_space


class Dare(MergedBranches):
    """theta = theta_0 + scale * 1/K sum_k m_k tau_k / (1 - drop), tau_k = theta_k - theta_0.

    m_k: (P,) of independent 0 and 1, 0 with probability `drop`, drawn by the run's seed for each
    branch; so the expected change is the mean of the branches', which `adapter_soup` takes. The
    source merges in several ways what it has thinned out; this is its average merging. It tries
    drop from 0.1 to 0.9 on a dev split; 0.5 is that range's middle and no constant of theirs. Its
    claim is about the small changes of large models: a student that is trained hard has large ones.

    theta: the trained parameters; under LoRA both factors are thinned out, each as it is.
    """

    name = "dare"
    version = 1
    reference = "arXiv:2311.03099"
    bibtex = """@inproceedings{yu2024language,
  title={Language Models are Super Mario: Absorbing Abilities from Homologous Models as a Free
         Lunch},
  author={Yu, Le and Yu, Bowen and Yu, Haiyang and Huang, Fei and Li, Yongbin},
  booktitle={International Conference on Machine Learning},
  year={2024}
}"""

    class Config(MergedBranches.Config):
        """drop: share of each branch's changes. scale: of the merged change."""

        drop: Annotated[float, Field(ge=0, lt=1), Tunable(0, 0.95)] = 0.5
        scale: Annotated[float, Field(gt=0), Tunable(0.3, 3, log=True)] = 1.0

    def merged(self, start, ends, trainer):
        """Thins out each change, rescales what is left, and takes the mean."""
        draw = torch.Generator().manual_seed(trainer.seed)
        origin = weight_space.flat(start)
        merged = torch.zeros_like(origin)
        for end in ends:
            change = weight_space.flat(end) - origin
            merged += thinned(change, self.config.drop, draw) / len(ends)
        return weight_space.unflatten(origin + self.config.scale * merged, start)


def thinned(change, drop: float, generator):
    """(P,): each entry 0 with probability `drop`, else divided by 1 - drop."""
    kept = torch.rand(change.shape, generator=generator).to(change.device) >= drop
    return change * kept / (1 - drop)
