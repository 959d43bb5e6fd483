"""Few long or strong rationales among many short or weak ones."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from compact_bench.api import Distiller, Run, Tunable


class MixDistillation(Distiller):
    """loss = NLL of one rationale a question: a long one for a share of them, else a short one.

    `kind: length` takes the question's longest or shortest rationale (characters); `kind: teacher`
    one of a strong teacher (a large model) or of any other. Which questions get the long or strong
    one is decided by their hash, the same in all seeds. A question that has none of the wanted
    kind gets the other. Li et al., "Small Models Struggle to Learn from Strong Reasoners", ACL
    Findings 2025: 1 part long or large to 4 parts short or small.
    """

    name = "mix_distillation"
    version = 1
    reference = "arXiv:2502.12143"
    bibtex = """@misc{li2025small,
  title={Small Models Struggle to Learn from Strong Reasoners},
  author={Li, Yuetai and Yue, Xiang and Xu, Zhangchen and Jiang, Fengqing and Niu, Luyao and
          Lin, Bill Yuchen and Ramasubramanian, Bhaskar and Poovendran, Radha},
  year={2025},
  eprint={2502.12143},
  archivePrefix={arXiv}
}"""

    class Config(Distiller.Config):
        """share: of questions with a long or strong rationale. strong: names of teachers."""

        kind: Literal["length", "teacher"] = "length"
        share: Annotated[float, Field(ge=0, le=1), Tunable(0, 1)] = 0.2
        strong: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Names the kind."""
        return f"{self.name}[{self.config.kind}]"

    def skip(self, run: Run) -> str | None:
        """Skips where strong teachers are wanted and none, all or unknown ones are named."""
        if self.config.kind == "length":
            return None
        strong = set(self.config.strong)
        if not strong or strong >= set(run.teachers) or not strong <= set(run.teachers):
            return f"strong must name some of {', '.join(run.teachers)}; it is {sorted(strong)}"
        return None

    def select(self, bank, student):
        """One rationale of each question."""
        teachers = bank.only_teachers(bank.teachers)
        rows = teachers.rationales
        if self.config.kind == "length":
            size = rows["text"].str.len()
        else:
            size = rows["teacher"].isin(self.config.strong).astype(int)
        long = strong_questions(rows["question_id"].unique().tolist(), self.config.share)
        score = size.where(~rows["question_id"].isin(long), -size)
        keys = zip(rows["question_id"], rows["teacher"], rows["sample"], strict=True)
        return teachers.lowest(dict(zip(keys, score, strict=True)))


def strong_questions(ids: Sequence[str], share: float) -> set[str]:
    """The given share of the questions, those of the lowest hash: a larger share adds to them."""
    ordered = sorted(ids, key=lambda name: hashlib.sha256(f"mix {name}".encode()).hexdigest())
    return set(ordered[: round(share * len(ordered))])
