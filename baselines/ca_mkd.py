"""Teachers weighted by how sure the gold answer is after their rationale."""

from __future__ import annotations

from compact_bench.api import Batch, Distiller, Step, fusion, torch


class CAMKD(Distiller):
    """loss = sum_k w_k NLL_k, w_k = (1 - softmax_k(c)) / (K - 1); one rationale has weight 1.

    c_k is the student's NLL of the gold answer given the question and rationale k (nats a token of
    the answer and the end), read anew at every step, without gradient. No weight exceeds
    1 / (K - 1). Zhang, Chen & Wang, "Confidence-Aware Multi-Teacher Knowledge Distillation",
    ICASSP 2022, take the teacher's own cross-entropy for c_k; a teacher that is known by its texts
    alone has none, so this is a proxy for text, and their term on hidden layers is left out.
    """

    name = "ca_mkd"
    version = 1
    reference = "arXiv:2201.00007"
    bibtex = """@inproceedings{zhang2022confidence,
  title={Confidence-Aware Multi-Teacher Knowledge Distillation},
  author={Zhang, Hailin and Chen, Defang and Wang, Can},
  booktitle={Proceedings of ICASSP},
  year={2022},
  eprint={2201.00007},
  archivePrefix={arXiv}
}"""
    uses_gold = True

    def loss(self, student, batch: Batch) -> Step:
        """Two forwards, the second for the weights alone."""
        out = student.forward(batch)
        with torch.no_grad():
            answer = student.forward(batch, target="answer", context="question+rationale").nll
        weights = confidence_weights(answer, batch.present)
        missing = torch.full_like(answer, float("nan"))
        return Step(
            loss=(weights * out.nll).sum(-1).mean(),
            weights=weights,
            nll=out.nll.detach(),
            scores={"answer_nll": torch.where(batch.present, answer, missing)},
        )


def confidence_weights(answer_nll, present):
    """(1 - softmax(c)) / (K - 1) over what is present, 1 for one rationale. Both (B,R)."""
    count = present.sum(-1, keepdim=True)
    share = fusion.masked_softmax(answer_nll, present)
    rest = (1 - share) / (count - 1).clamp_min(1)
    return torch.where(count > 1, rest, torch.ones_like(rest)) * present
