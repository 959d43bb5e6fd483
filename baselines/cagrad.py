"""Near the average gradient, the step from which the worst-off teacher gains most."""

from __future__ import annotations

import math

from pydantic import Field

from compact_bench.api import Annotated, Batch, Distiller, Step, Tunable, min_norm, torch


class CAGrad(Distiller):
    """g = argmax over d with |d - g_0| <= c |g_0| of min_k g_k . d, over 1 + c^2 if `rescale`.

    g_k: (P,) gradient of teacher k's mean NLL (nats a token) over the P trainable parameters;
    g_0 = sum_k p_k g_k the average's, p_k = 1/K where every question has every teacher.
    Its dual: d = g_0 + rho g_w,  g_w = sum_k w_k g_k with w on the simplex minimising
    g_w . g_0 + c |g_0| |g_w|, and rho = c |g_0| / |g_w|. For a given rho, w is the solution of a
    quadratic programme; |rho g_w| grows with rho, so rho is found by halving an interval. c = 0 is
    `average`.

    c = 0.4 is that of the released nyuv2/run.sh (--method cagrad --alpha 0.4), and the division
    that of nyuv2/utils.py (rescale=1), whose function has 0.5 by default. The recorded weights are
    the coefficients p_k + rho w_k, to the sum 1; `weight_NAME` in the logs before that.

    Cost: K forward and backward passes over 1/K of the rows each, in sum the tokens and FLOPs of
    `average`; K (P,) float32 vectors of memory (P: adapters only under LoRA); the search sees the
    (K,K) Gram matrix only.
    """

    name = "cagrad"
    version = 1
    reference = "arXiv:2110.14048"
    bibtex = """@inproceedings{liu2021conflict,
  title={Conflict-Averse Gradient Descent for Multi-task Learning},
  author={Liu, Bo and Liu, Xingchao and Jin, Xiaojie and Stone, Peter and Liu, Qiang},
  booktitle={Advances in Neural Information Processing Systems},
  volume={34},
  year={2021},
  eprint={2110.14048},
  archivePrefix={arXiv}
}"""

    class Config(Distiller.Config):
        """c: how far from the average, in its norm; rescale: divide by 1 + c^2."""

        c: Annotated[float, Field(ge=0, lt=1), Tunable(0, 0.9)] = 0.4
        rescale: bool = True

    def backward(self, student, batch: Batch) -> Step:
        """Leaves the mixed gradient; the loss that is recorded is the average's."""
        by_teacher = student.teacher_gradients(batch)
        mix = coefficients(by_teacher.gram(), by_teacher.share.double().cpu(), self.config.c)
        if self.config.rescale:
            mix = mix / (1 + self.config.c**2)
        mix = mix.to(by_teacher.gradient)
        student.add_gradient(mix @ by_teacher.gradient)
        step = by_teacher.step(mix)
        step.loss = by_teacher.share @ by_teacher.loss
        return step


def coefficients(gram, share, c: float):
    """(K,): d in terms of the g_k, before the division. gram: (K,K); share: (K,), both float64."""
    linear = gram @ share  # g_k . g_0
    radius = c * math.sqrt(max(float(share @ linear), 0.0))
    longest = math.sqrt(max(float(gram.diagonal().max()), 0.0))
    ones = torch.ones_like(share)
    if not (0 < radius < math.inf):  # c = 0, no gradient, or one that the trainer will refuse
        return share
    weights = min_norm.capped_weights(gram, ones)
    # Opposed gradients may cancel: rho would grow without end, and d with it hardly change.
    low, high = radius / longest, radius / max(_length(gram, weights), 1e-6 * longest)
    while high - low > 1e-10 * high:
        rho = math.sqrt(low * high) if high > 2 * low else (low + high) / 2
        weights = min_norm.capped_weights(rho * gram, ones, linear, weights.tolist())
        if rho * _length(gram, weights) < radius:
            low = rho
        else:
            high = rho
    weights = min_norm.capped_weights(high * gram, ones, linear, weights.tolist())
    return share + high * weights


def _length(gram, weights) -> float:
    """The norm of sum_k w_k g_k."""
    return math.sqrt(max(float(weights @ gram @ weights), 0.0))
