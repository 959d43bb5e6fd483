"""Single-teacher students averaged weight by weight, by how much each depends on the weight."""

from __future__ import annotations

from pydantic import Field

from compact_bench.api import Annotated, MergedBranches, torch, weight_space


class FisherMerging(MergedBranches):
    """theta_p = sum_k F_kp theta_kp / sum_k F_kp, after a floor of 1e-6 of F_k's mean.

    F_k: (P,) diagonal Fisher information of branch k at its end over `examples` of its own
    teacher's rationales, divided by its Euclidean norm, so that no branch counts more for having
    larger gradients: E (d log p(r + a | q) / d theta_p)^2. The source takes the expectation over
    the model's own outputs, which a classifier can list; here the texts are the teacher's. The
    norm is the released merging.py's (normalize_fishers); its floor there is 1e-6 before the norm
    and holds for the first model alone (favor_target_model), which no branch is here.

    Where no branch depends on a weight it is their mean. theta: the trained parameters, under LoRA
    both factors. Cost: a forward and backward pass over `examples` more for each branch.
    """

    name = "fisher_merging"
    version = 1
    reference = "arXiv:2111.09832"
    bibtex = """@inproceedings{matena2022merging,
  title={Merging Models with {F}isher-Weighted Averaging},
  author={Matena, Michael and Raffel, Colin},
  booktitle={Advances in Neural Information Processing Systems},
  volume={35},
  year={2022}
}"""

    class Config(MergedBranches.Config):
        """examples: rationales that each Fisher information is a mean over, at most."""

        examples: Annotated[int, Field(ge=1)] = 50

    def merged(self, start, ends, trainer):
        """Weighs each branch's weights by its Fisher information."""
        student, precisions = trainer.student, []
        for k, end in enumerate(ends):
            student.load_state_dict(end)
            fisher = self._fisher(trainer, k)
            fisher = fisher / fisher.norm().clamp_min(1e-30)
            precisions.append(fisher + 1e-6 * fisher.mean() + 1e-30)
        values = torch.stack([weight_space.flat(end) for end in ends])  # (K,P)
        return weight_space.unflatten(precision_mean(values, torch.stack(precisions)), start)

    def _fisher(self, trainer, teacher: int):
        """(P,) the sum over the first rationales of one teacher, in the bank's order."""
        total = torch.zeros_like(weight_space.flat(trainer.student.state_dict()))
        left = self.config.examples
        for batch in trainer.batches():
            rows = batch.teacher == teacher
            rows &= rows.flatten().cumsum(0).view_as(rows) <= left
            count = int(rows.sum())
            if count:
                fisher = weight_space.diagonal_fisher(trainer.student, batch.restrict(rows))
                total += count * fisher
            left -= count
            if not left:
                break
        return total


def precision_mean(values, precisions):
    """(P,): sum_k f_k x_k / sum_k f_k of values and precisions (K,P)."""
    return (precisions * values).sum(0) / precisions.sum(0)
