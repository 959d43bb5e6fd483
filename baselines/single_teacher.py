"""One teacher alone: a row for each."""

from __future__ import annotations

from collections.abc import Sequence

from compact_bench.api import Distiller, Run


class SingleTeacher(Distiller):
    """loss = CE(r_k + a_k given q), nats a token, for one teacher k.

    Ho, Schmid & Yun, "Large Language Models Are Reasoning Teachers", ACL 2023; here the
    teacher's wrong rationales are kept, as for every other row.
    """

    name = "single_teacher"
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
        """teacher: a name; empty stands for every teacher of the run, a row each."""

        teacher: str = ""

    @classmethod
    def variants(cls, config, teachers: Sequence[str]) -> list:
        """A config for each teacher, unless one is named."""
        return [config] if config.teacher else [cls.Config(teacher=name) for name in teachers]

    @property
    def label(self) -> str:
        """Names the teacher."""
        return f"{self.name}[{self.config.teacher}]"

    def skip(self, run: Run) -> str | None:
        """Skips a teacher that the run doesn't have."""
        if self.config.teacher not in run.teachers:
            return f"no teacher {self.config.teacher!r}; the run has {', '.join(run.teachers)}"
        return None

    def select(self, bank, student):
        """This teacher's rationales."""
        return bank.only_teachers([self.config.teacher])
