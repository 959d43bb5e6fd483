"""The average of the teachers' gradients, without the parts that oppose another teacher."""

from __future__ import annotations

from compact_bench.api import Batch, Distiller, Step, torch


class PCGrad(Distiller):
    """g = sum_k p_k g'_k: where g'_k . g_j < 0, teacher k's gradient loses its part along g_j.

    For each k: g' = g_k; for the other teachers j in a random order, if g' . g_j < 0:
    g' <- g' - (g' . g_j / |g_j|^2) g_j, with g_j as it was. g_k: (P,) gradient of teacher k's mean
    NLL (nats a token) over the P trainable parameters; p_k: its share of the plain average, 1/K
    where every question has every teacher (the source sums; its 1/K is in the learning rate).
    Without conflicts this is `average`. The orders come from the batch's generator. There is no
    constant to choose.

    Every g'_k is a combination of the g_k, so only its K coefficients are kept. The recorded
    weights are the teachers' coefficients, to the sum 1; `weight_NAME` in the logs before that.

    Cost: K forward and backward passes over 1/K of the rows each, in sum the tokens and FLOPs of
    `average`; K (P,) float32 vectors of memory (P: adapters only under LoRA).
    """

    name = "pcgrad"
    version = 1
    reference = "arXiv:2001.06782"
    bibtex = """@inproceedings{yu2020gradient,
  title={Gradient Surgery for Multi-Task Learning},
  author={Yu, Tianhe and Kumar, Saurabh and Gupta, Abhishek and Levine, Sergey and
          Hausman, Karol and Finn, Chelsea},
  booktitle={Advances in Neural Information Processing Systems},
  volume={33},
  year={2020},
  eprint={2001.06782},
  archivePrefix={arXiv}
}"""

    def backward(self, student, batch: Batch) -> Step:
        """Leaves the mixed gradient; the loss that is recorded is the average's."""
        by_teacher = student.teacher_gradients(batch)
        mix = coefficients(by_teacher.gram(), by_teacher.share.double().cpu(), batch.generator)
        mix = mix.to(by_teacher.gradient)
        student.add_gradient(mix @ by_teacher.gradient)
        step = by_teacher.step(mix)
        step.loss = by_teacher.share @ by_teacher.loss
        return step


def coefficients(gram, share, generator):
    """(K,): how much of each teacher's gradient is in the result. gram: (K,K); share: (K,)."""
    size = len(share)
    mix = torch.eye(size, dtype=gram.dtype)  # row k: g'_k in terms of the g_j
    for k in range(size):
        for j in torch.randperm(size, generator=generator).tolist():
            along = mix[k] @ gram[:, j]
            if j != k and along < 0:
                mix[k, j] -= along / gram[j, j]
    return share @ mix
