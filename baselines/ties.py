"""Single-teacher students merged after small changes and minority signs are dropped."""

from __future__ import annotations

from pydantic import Field

from compact_bench.api import Annotated, MergedBranches, Tunable, torch, weight_space


class Ties(MergedBranches):
    """theta = theta_0 + scale * tau, tau_p = mean of the trimmed tau_kp whose sign is s_p.

    tau_k = theta_k - theta_0, (P,) the change of the branch of teacher k. Trimmed: of each tau_k
    the `keep` share of largest magnitude stays, the rest is 0. s_p = sign(sum_k tau_kp), of the
    trimmed ones; where that is 0, the sign that most of the P entries have. Entries that are 0
    don't count in the mean. keep = 0.2 and scale = 1 are the source's where nothing is tuned; read
    in its released merge_utils.py (topk 20, resolve "mass", "dis-mean").

    theta: the trained parameters; under LoRA both factors are merged, each as it is.
    """

    name = "ties"
    version = 1
    reference = "arXiv:2306.01708"
    bibtex = """@inproceedings{yadav2023ties,
  title={{TIES}-Merging: Resolving Interference When Merging Models},
  author={Yadav, Prateek and Tam, Derek and Choshen, Leshem and Raffel, Colin and Bansal, Mohit},
  booktitle={Advances in Neural Information Processing Systems},
  volume={36},
  year={2023}
}"""

    class Config(MergedBranches.Config):
        """keep: share of each branch's changes. scale: of the merged change."""

        keep: Annotated[float, Field(gt=0, le=1), Tunable(0.05, 1)] = 0.2
        scale: Annotated[float, Field(gt=0), Tunable(0.3, 3, log=True)] = 1.0

    def merged(self, start, ends, trainer):
        """Trims, elects signs, and takes the mean of what agrees."""
        origin = weight_space.flat(start)
        changes = torch.stack([weight_space.flat(end) - origin for end in ends])  # (K,P)
        merged = ties_merge(changes, self.config.keep)
        return weight_space.unflatten(origin + self.config.scale * merged, start)


def ties_merge(changes, keep: float):
    """(P,): the merged change of changes (K,P)."""
    count = max(1, int(keep * changes.shape[1]))
    least = changes.abs().topk(count, dim=1).values[:, -1:]  # (K,1)
    trimmed = torch.where(changes.abs() >= least, changes, 0.0)
    total = trimmed.sum(0)
    sign = torch.where(total == 0, total.sign().sum().sign(), total.sign())  # (P,)
    agreeing = trimmed * (trimmed.sign() == sign)
    return agreeing.sum(0) / (agreeing != 0).sum(0).clamp_min(1)
