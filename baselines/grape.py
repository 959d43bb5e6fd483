"""The rationale that the student finds likeliest before training."""

from __future__ import annotations

from compact_bench.api import Distiller


class Grape(Distiller):
    """loss = NLL of the question's rationale with the lowest mean NLL under the untrained student.

    Mean over the target's tokens, nats: a likelihood that doesn't favour short texts. One scoring
    pass over all rationales comes first, and its cost counts. Zhang, Dai & Peng, "The Best
    Instruction-Tuning Data are Those That Fit", 2025.
    """

    name = "grape"
    version = 1
    reference = "arXiv:2502.04194"
    bibtex = """@misc{zhang2025best,
  title={The Best Instruction-Tuning Data are Those That Fit},
  author={Zhang, Dylan and Dai, Qirun and Peng, Hao},
  year={2025},
  eprint={2502.04194},
  archivePrefix={arXiv}
}"""

    def select(self, bank, student):
        """One rationale of each question."""
        teachers = bank.only_teachers(bank.teachers)
        nll = student.scores(teachers, lambda batch: student.forward(batch).nll)
        return teachers.lowest(nll)
