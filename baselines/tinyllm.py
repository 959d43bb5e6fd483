"""The answer, and each teacher's rationale under that teacher's own mark."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from compact_bench.api import Batch, Distiller, Step, Tunable, torch, uniform


class TinyLLM(Distiller):
    """loss = gamma CE(a given q) + lambda sum_k CE(r_k given [teacher k] q), nats a token.

    a is the gold answer, r_k a rationale of teacher k without its answer (of several the mean);
    the mark before the question tells the student whose rationale is asked for. Tian et al.,
    "TinyLLM", 2024, give each of two teachers a weight of its own; the released tiny.py has 1 for
    the answer and for each teacher by default (--gamma, --alpha, --beta), and its README sets 2
    for each teacher on PIQA. Here all teachers have the same. The student answers at once, without
    a rationale, as in training.
    """

    name = "tinyllm"
    version = 2  # of 1, all teachers together had the weight lambda
    reference = "arXiv:2402.04616"
    bibtex = """@misc{tian2024tinyllm,
  title={TinyLLM: Learning a Small Student from Multiple Large Language Models},
  author={Tian, Yijun and Han, Yikun and Chen, Xiusi and Wang, Wei and Chawla, Nitesh V.},
  year={2024},
  eprint={2402.04616},
  archivePrefix={arXiv}
}"""
    uses_gold = True

    class Config(Distiller.Config):
        """answer_weight: gamma. rationale_weight: lambda, of each teacher."""

        answer_weight: Annotated[float, Field(ge=0), Tunable(0.1, 10, log=True)] = 1.0
        rationale_weight: Annotated[float, Field(ge=0), Tunable(0.1, 10, log=True)] = 1.0

    def loss(self, student, batch: Batch) -> Step:
        """Two forwards: one row a question, and one a rationale."""
        answer = student.forward(batch, target="answer").nll[:, 0]  # (B,)
        rationale = student.forward(batch, target="rationale", prompt="teacher").nll  # (B,R)
        weights = uniform(batch.present)
        teachers = [len(set(row) - {-1}) for row in batch.teacher.tolist()]
        count = torch.tensor(teachers).to(rationale)  # (B,)
        loss = self.config.answer_weight * answer
        loss = loss + self.config.rationale_weight * count * (weights * rationale).sum(-1)
        return Step(
            loss=loss.mean(),
            weights=weights,
            nll=rationale.detach(),
            logs={"answer_nll": float(answer.detach().mean())},
        )
