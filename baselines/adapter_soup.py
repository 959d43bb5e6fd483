"""A student for each teacher, and the mean of their weights."""

from __future__ import annotations

from compact_bench.api import MergedBranches


class AdapterSoup(MergedBranches):
    """theta = 1/K sum_k theta_k, theta_k trained from the same start on teacher k's rationales.

    theta: the trained parameters, the adapters' under LoRA. The means of their two factors are
    taken, not of their products: that is what averaging adapters means in the source, and all
    branches begin with the same factors. The loss of a branch is CE(r_k + a_k given q), nats a
    token.

    budget "matched": all branches together take the optimizer steps (or FLOPs) of another row;
    branch k reads the questions of the k-th K-th of the row's order. "own": every branch takes
    that many, so is `single_teacher`'s row, and the tokens in all are those of `average`.
    The source mixes adapters of domains, chosen for each test text; here all are in, once.
    """

    name = "adapter_soup"
    version = 1
    reference = "arXiv:2302.07027"
    bibtex = """@inproceedings{chronopoulou2023adaptersoup,
  title={{AdapterSoup}: Weight Averaging to Improve Generalization of Pretrained Language Models},
  author={Chronopoulou, Alexandra and Peters, Matthew E. and Fraser, Alexander and Dodge, Jesse},
  booktitle={Findings of EACL},
  year={2023},
  eprint={2302.07027},
  archivePrefix={arXiv}
}"""

    def merged(self, start, ends, trainer):
        """The mean of the branches' weights."""
        mean = dict.fromkeys(start, 0.0)
        for end in ends:
            mean = {name: mean[name] + end[name].float() / len(ends) for name in start}
        return mean
