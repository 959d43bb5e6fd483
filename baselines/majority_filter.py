"""The mean over the rationales that end in the answer that most of them end in."""

from __future__ import annotations

from compact_bench.api import Distiller


class MajorityFilter(Distiller):
    """loss = mean of NLL_k over rationales whose answer a_k is the question's most frequent one.

    What `gold_filter` is without gold answers. All answers of equal frequency are kept, since a
    choice among them would be arbitrary; a rationale without an answer is kept only where none of
    the question's has one. Huang et al., "Large Language Models Can Self-Improve", EMNLP 2023,
    filter a model's own samples this way.
    """

    name = "majority_filter"
    version = 1
    reference = "arXiv:2210.11610"
    bibtex = """@inproceedings{huang2023large,
  title={Large Language Models Can Self-Improve},
  author={Huang, Jiaxin and Gu, Shixiang Shane and Hou, Le and Wu, Yuexin and Wang, Xuezhi and
          Yu, Hongkun and Han, Jiawei},
  booktitle={Proceedings of EMNLP},
  year={2023},
  eprint={2210.11610},
  archivePrefix={arXiv}
}"""

    def select(self, bank, student):
        """The teachers' rationales with a most frequent answer."""
        teachers = bank.only_teachers(bank.teachers)
        rationales = teachers.rationales
        # A missing answer agrees with nobody: it counts 0, not the number of missing ones.
        votes = rationales.groupby(["question_id", "answer"])["answer"].transform("size").fillna(0)
        most = votes.groupby(rationales["question_id"]).transform("max")
        return teachers.keep((votes == most).to_numpy())
