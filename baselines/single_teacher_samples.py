"""Several samples or styles of one teacher: more rationales without more teachers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from compact_bench.api import Distiller, Run


class SingleTeacherSamples(Distiller):
    """loss = 1/R sum_r NLL_r over the R rationales of one teacher, nats a token.

    They are several samples of it, or its styles: teachers called "{teacher}/{style}". With as
    many rationales a question as `average` reads, the difference between the two is what other
    teachers add to more rationales. Ho, Schmid & Yun, "Large Language Models Are Reasoning
    Teachers", ACL 2023 (there called diverse reasoning); their filter for right answers is left
    out, as for every other row.
    """

    name = "single_teacher_samples"
    version = 1
    reference = "arXiv:2212.10071"
    bibtex = """@inproceedings{ho2023large,
  title={Large Language Models Are Reasoning Teachers},
  author={Ho, Namgyu and Schmid, Laura and Yun, Se-Young},
  booktitle={Proceedings of ACL},
  year={2023},
  eprint={2212.10071},
  archivePrefix={arXiv}
}"""

    class Config(Distiller.Config):
        """teacher: its name without the style; empty stands for every teacher of the run, a row
        each. samples: how many rationales a question at most; 0 stands for all."""

        teacher: str = ""
        samples: Annotated[int, Field(ge=0)] = 0

    @classmethod
    def variants(cls, config, teachers: Sequence[str]) -> list:
        """A config for each teacher, its styles together, unless one is named."""
        if config.teacher:
            return [config]
        names = dict.fromkeys(_without_style(teacher) for teacher in teachers)
        return [config.model_copy(update={"teacher": name}) for name in names]

    @property
    def label(self) -> str:
        """Names the teacher."""
        return f"{self.name}[{self.config.teacher}]"

    def skip(self, run: Run) -> str | None:
        """Skips a teacher with one rationale a question: that is its `single_teacher` row."""
        rationales = self._of_teacher(run.bank).rationales
        if rationales.empty:
            return f"no teacher {self.config.teacher!r}; the run has {', '.join(run.teachers)}"
        if rationales["question_id"].is_unique:
            return f"{self.config.teacher!r} has one rationale a question"
        return None

    def select(self, bank, student):
        """This teacher's rationales; the first `samples` of each question."""
        chosen = self._of_teacher(bank)
        if not self.config.samples:
            return chosen
        order = {name: place for place, name in enumerate(chosen.teachers)}
        rationales = chosen.rationales.assign(place=chosen.rationales["teacher"].map(order))
        number = rationales.sort_values(["place", "sample"]).groupby("question_id").cumcount()
        first = number.reindex(rationales.index) < self.config.samples
        return chosen.keep(first.to_numpy())

    def _of_teacher(self, bank):
        wanted = self.config.teacher
        names = [name for name in bank.teachers if wanted in (name, _without_style(name))]
        return bank.only_teachers(names)


def _without_style(teacher: str) -> str:
    return teacher.split("/")[0]
