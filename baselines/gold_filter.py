"""The mean over the rationales that end in the right answer."""

from __future__ import annotations

from compact_bench.api import Distiller


class GoldFilter(Distiller):
    """loss = mean of NLL_k over teachers with a_k = a; questions without one are left out.

    Ho, Schmid & Yun, "Large Language Models Are Reasoning Teachers", ACL 2023 (Fine-tune-CoT).
    """

    name = "gold_filter"
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
    uses_gold = True

    def select(self, bank, student):
        """The teachers' rationales with the right answer."""
        teachers = bank.only_teachers(bank.teachers)
        return teachers.keep(teachers.rationales["right"].to_numpy())
