"""A branch of the student for each teacher, their weights averaged, and again from there."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from compact_bench.api import Annotated, Distiller, Run


class MergeOfThought(Distiller):
    """theta_t = 1/K sum_k SFT(theta_{t-1}, rationales of teacher k), t = 1..rounds.

    theta: the trained parameters; under LoRA the means of both factors are taken, not of their
    products (the branches of a round begin with the same factors). A branch minimises
    CE(r_k + a_k given q), nats a token, with an optimizer and a schedule of its own.

    budget "matched": all branches of all rounds together take the optimizer steps (or FLOPs) of
    another row, in parts as equal as they go, and read the questions in that row's order, each
    time those of one teacher: a K-th of the tokens of `average`. "own": the branches of one
    teacher take that many over the rounds, so that the tokens in all are those of `average`, at
    K times its optimizer steps.

    5 rounds could not be checked: no released code was found, nor the paper's settings.
    """

    name = "merge_of_thought"
    version = 1
    reference = "arXiv:2509.08814"
    bibtex = """@misc{shen2025merge,
  title={Merge-of-Thought Distillation},
  author={Shen, Zhanming and Qin, Zeyu and Huang, Zenan and Chen, Hao and Hu, Jiaqi and
          Zhuang, Yihong and Lu, Guoshan and Chen, Gang and Zhao, Junbo},
  year={2025},
  eprint={2509.08814},
  archivePrefix={arXiv}
}"""

    class Config(Distiller.Config):
        """rounds: how often weights are merged; budget: of all branches, or of a teacher's."""

        rounds: Annotated[int, Field(ge=1)] = 5
        budget: Literal["matched", "own"] = "matched"

    def parts(self, branches: int) -> list[list[tuple[float, float]]]:
        """[round][branch]: from where to where in a row's budget the branch goes."""
        rounds = range(self.config.rounds)
        if self.config.budget == "own":
            return [[_part(t, len(rounds))] * branches for t in rounds]
        pieces = len(rounds) * branches
        return [[_part(t * branches + k, pieces) for k in range(branches)] for t in rounds]

    def skip(self, run: Run) -> str | None:
        """Skips where there are fewer optimizer steps than branches to give one each."""
        pieces = self.config.rounds * (len(run.teachers) if self.config.budget == "matched" else 1)
        if run.steps < pieces and not run.by_flops:
            return f"{pieces} branches for {run.steps} optimizer steps: some would train nothing"
        return None

    def fit(self, trainer) -> None:
        """Trains the branches one after the other and merges them after each round."""
        student, count = trainer.student, len(trainer.teachers)
        start = student.state_dict()
        for t, parts in enumerate(self.parts(count)):
            mean = dict.fromkeys(start, 0.0)
            for k, part in enumerate(parts):
                student.load_state_dict(start)
                trainer.run(self, stage=f"round-{t}-teacher-{k}", part=part, teacher=k)
                mean = {n: mean[n] + end.float() / count for n, end in student.state_dict().items()}
            student.load_state_dict(mean)
            start = student.state_dict()


def _part(number: int, pieces: int) -> tuple[float, float]:
    return number / pieces, (number + 1) / pieces
