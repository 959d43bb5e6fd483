"""A student for each teacher, and the mean of their weights."""

from __future__ import annotations

from typing import Literal

from compact_bench.api import Distiller, Run


class AdapterSoup(Distiller):
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

    class Config(Distiller.Config):
        """budget: of all branches together, or of each."""

        budget: Literal["matched", "own"] = "matched"

    def skip(self, run: Run) -> str | None:
        """Skips where there are fewer optimizer steps than branches to give one each."""
        if self.config.budget == "matched" and run.steps < len(run.teachers):
            if not run.by_flops:
                return f"{len(run.teachers)} branches for {run.steps} optimizer steps"
        return None

    def fit(self, trainer) -> None:
        """Trains the branches one after the other, then merges them."""
        student = trainer.student
        start, count = student.state_dict(), len(trainer.teachers)
        mean = dict.fromkeys(start, 0.0)
        for k in range(count):
            student.load_state_dict(start)
            part = (k / count, (k + 1) / count) if self.config.budget == "matched" else (0.0, 1.0)
            trainer.run(self, stage=f"teacher-{k}", part=part, teacher=k)
            mean = {n: mean[n] + end.float() / count for n, end in student.state_dict().items()}
        student.load_state_dict(mean)
