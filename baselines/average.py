"""The mean over teachers: the ensemble that is hard to beat."""

from __future__ import annotations

from compact_bench.api import Distiller


class Average(Distiller):
    """loss = 1/K sum_k NLL_k: every teacher's rationale counts alike.

    You, Xu, Xu & Tao, "Learning from Multiple Teacher Networks", KDD 2017.
    """

    name = "average"
    version = 1
    reference = "10.1145/3097983.3098135"
    bibtex = """@inproceedings{you2017learning,
  title={Learning from Multiple Teacher Networks},
  author={You, Shan and Xu, Chang and Xu, Chao and Tao, Dacheng},
  booktitle={Proceedings of KDD},
  year={2017},
  doi={10.1145/3097983.3098135}
}"""
