"""The student's own right rationales beside the teachers': rejection sampling fine-tuning."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import Field

from compact_bench.api import Annotated, Batch, Distiller, Tunable, torch

OWN = "student"  # the name by which its rationales count as its own
EQUATION = re.compile(r"\d[-+*/().,\d\s×÷x]*=\s*-?[\d.,]*\d")


class RFT(Distiller):
    """loss = 1/R sum_r NLL_r over the teachers' rationales and the student's own right ones.

    Two stages. A student is trained on the teachers' rationales with the first third of the budget
    and then writes `samples` rationales for each training question; those that end in the gold
    answer are kept, one of each list of equations (of each text where there are none). The student
    that is handed on begins again from its start, and is trained on all of them with the rest.

    Yuan et al., "Scaling Relationship on Learning Mathematical Reasoning with Large Language
    Models", 2023: temperature 0.7 and one rationale of each equation list are theirs; there the
    first student has a whole training and writes 100 rationales a question. Like STaR (Zelikman et
    al., arXiv:2203.14465), of one round and without its hints. `teachers = False` leaves the
    teachers' rationales out of the second stage; a question without an own one is not read then.

    Cost: what the first stage and the samples take counts as spent on choosing.
    """

    name = "rft"
    version = 1
    reference = "arXiv:2308.01825"
    bibtex = """@misc{yuan2023scaling,
  title={Scaling Relationship on Learning Mathematical Reasoning with Large Language Models},
  author={Yuan, Zheng and Yuan, Hongyi and Li, Chengpeng and Dong, Guanting and Lu, Keming and
          Tan, Chuanqi and Zhou, Chang and Zhou, Jingren},
  year={2023},
  eprint={2308.01825},
  archivePrefix={arXiv}
}"""
    uses_gold = True

    class Config(Distiller.Config):
        """samples: of each question; temperature: of them; first: the first stage's share of the
        budget; teachers: whether the second stage reads the teachers' rationales, too."""

        samples: Annotated[int, Field(ge=1)] = 8
        temperature: Annotated[float, Field(gt=0), Tunable(0.3, 1.5)] = 0.7
        first: Annotated[float, Field(gt=0, lt=1)] = 1 / 3
        teachers: bool = True

    def fit(self, trainer) -> None:
        """Trains a first student, has it write, and trains the second one."""
        student, first = trainer.student, self.config.first
        start, self.own = student.state_dict(), -1
        trainer.run(self, stage="first", part=(0.0, first))
        student.cost.discard(student.cost.tokens)
        texts: dict[str, list[str]] = {}
        with student.cost.selecting():
            for batch in trainer.batches():
                written = student.sample(batch, self.config.samples, self.config.temperature)
                for b, right in enumerate(written.batch.right.tolist()):
                    kept = [t for t, r in zip(written.texts[b], right, strict=True) if r]
                    texts[batch.question_id[b]] = distinct(kept)
        student.load_state_dict(start)
        self.own = len(trainer.teachers)
        trainer.add_rationales(OWN, texts)
        trainer.run(self, stage="second", part=(first, 1.0))

    def rows(self, batch: Batch):
        """(B,R) bool: all; in the second stage perhaps the student's own alone."""
        if self.config.teachers or self.own < 0:
            return batch.present
        return batch.teacher == torch.tensor(self.own, device=batch.teacher.device)


def distinct(texts: Sequence[str]) -> list[str]:
    """The first text of each list of equations, spaces aside; without any, of each wording."""
    first: dict[tuple[str, ...], str] = {}
    for text in texts:
        equations = [re.sub(r"\s", "", found) for found in EQUATION.findall(text)]
        first.setdefault(tuple(equations) or (text.strip(),), text)
    return list(first.values())
