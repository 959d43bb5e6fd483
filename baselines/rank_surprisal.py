"""Rationales whose tokens are surprising to the student and yet high in its ranking."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from compact_bench.api import Batch, Distiller, Tunable, fusion


class RankSurprisal(Distiller):
    """x_r = sum_t min(rank_t, 100) / sum_t surprisal_t under the untrained student; low is good.

    rank is 1 + the number of strictly likelier tokens, surprisal -log p in nats, over the target's
    tokens, the answer and the end included. `hard`: loss = NLL of the question's lowest x. `soft`:
    loss = sum_r w_r NLL_r with w = softmax(-x / temperature), the same in all epochs. One scoring
    pass over all rationales comes first, and its cost counts. Yang et al., "Which Reasoning
    Trajectories Teach Students to Reason Better?", 2026 (hard; 100 is their default, soft and its
    temperature are ours).
    """

    name = "rank_surprisal"
    version = 1
    reference = "arXiv:2601.14249"
    bibtex = """@misc{yang2026which,
  title={Which Reasoning Trajectories Teach Students to Reason Better? A Simple Metric of
         Informative Alignment},
  author={Yang, Yuming and Lai, Mingyoung and Zhao, Wanxu and Fan, Xiaoran and Xi, Zhiheng and
          Wu, Mingqi and Huang, Chiyue and Zhao, Jun and Lv, Haijun and Tong, Jian and
          Zhou, Yunhua and Zou, Yicheng and Guo, Qipeng and Gui, Tao and Zhang, Qi and
          Huang, Xuanjing},
  year={2026},
  eprint={2601.14249},
  archivePrefix={arXiv}
}"""
    needs = frozenset({"token_nll", "token_rank"})

    class Config(Distiller.Config):
        """choice: one rationale, or weights. highest_rank: where ranks are cut off."""

        choice: Literal["hard", "soft"] = "hard"
        highest_rank: Annotated[int, Field(ge=1)] = 100
        temperature: Annotated[float, Field(gt=0), Tunable(0.1, 10, log=True)] = 1.0

    def __init__(self, config=None) -> None:
        super().__init__(config)
        self.scores: dict = {}

    @property
    def label(self) -> str:
        """Names the choice."""
        return f"{self.name}[{self.config.choice}]"

    def select(self, bank, student):
        """Scores every rationale; keeps the lowest of each question, or all for `soft`."""
        teachers = bank.only_teachers(bank.teachers)

        def ratio(batch: Batch):
            out = student.forward(batch, needs=self.needs)
            return rank_surprisal(out.token_rank, out.token_nll, self.config.highest_rank)

        self.scores = student.scores(teachers, ratio)
        return teachers if self.config.choice == "soft" else teachers.lowest(self.scores)

    def weights(self, out, batch: Batch):
        """(B,R): from the scores for `soft`; all on the selected one for `hard`."""
        if self.config.choice == "hard":
            return super().weights(out, batch)
        ratio = batch.from_rationale(self.scores)
        return fusion.masked_softmax(-ratio, batch.present, self.config.temperature)


def rank_surprisal(rank, nll, highest: int):
    """Sum of cut ranks over sum of surprisals. rank, nll: (B,R,T), 0 beyond a row's end."""
    return rank.clamp_max(highest).sum(-1) / nll.sum(-1).clamp_min(1e-12)
