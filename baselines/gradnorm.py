"""Teachers' weights that keep their gradients at lengths that follow how fast each is learned."""

from __future__ import annotations

from pydantic import Field

from compact_bench.api import Annotated, Batch, Distiller, Step, Tunable, torch


class GradNorm(Distiller):
    """loss = sum_k p_k w_k L_k, sum_k w_k = K; w_k <- w_k - rate * d/dw_k sum_j |G_j - T_j|.

    L_k: teacher k's mean NLL in the batch, nats a token; p_k: its share of the plain average, 1/K
    where every question has every teacher. G_k = w_k |g_k| with g_k the (P,) gradient of L_k over
    the P trainable parameters; target T_k = mean_j(G_j) r_k^alpha, a constant in the derivative;
    r_k = (L_k / L_k(0)) / mean_j(L_j / L_j(0)), L_k(0) the teacher's first loss. So a teacher that
    is learned slowly gets a longer gradient. Weights start at 1 (`average`), move after each
    micro-batch, whose own gradient has the weights from before, and are scaled back to the sum K.

    alpha = 1.5 is the default of LibMTL (LibMTL/weighting/GradNorm.py); no code of the authors is
    known, and neither it nor rate = 0.025 could be checked in the paper. The source takes the last
    shared layer's gradient and an optimizer of its own for w; here it is all trained parameters and
    plain steps, with |g_k| in units of their mean, so that the step doesn't depend on the scale of
    the loss.

    Cost: K forward and backward passes over 1/K of the rows each, in sum the tokens and FLOPs of
    `average`; K (P,) float32 vectors of memory (P: adapters only under LoRA).
    """

    name = "gradnorm"
    version = 1
    reference = "arXiv:1711.02257"
    bibtex = """@inproceedings{chen2018gradnorm,
  title={{GradNorm}: Gradient Normalization for Adaptive Loss Balancing in Deep Multitask Networks},
  author={Chen, Zhao and Badrinarayanan, Vijay and Lee, Chen-Yu and Rabinovich, Andrew},
  booktitle={Proceedings of ICML},
  year={2018},
  eprint={1711.02257},
  archivePrefix={arXiv}
}"""

    class Config(Distiller.Config):
        """alpha: 0 makes gradients equally long; rate: step size of the weights."""

        alpha: Annotated[float, Field(ge=0), Tunable(0, 3)] = 1.5
        rate: Annotated[float, Field(ge=0), Tunable(0.001, 0.25, log=True)] = 0.025

    def __init__(self, config=None) -> None:
        super().__init__(config)
        self.state: dict = {}

    def backward(self, student, batch: Batch) -> Step:
        """Leaves the weighted gradient, then moves the weights."""
        by_teacher = student.teacher_gradients(batch)
        here = by_teacher.teacher.cpu()
        if not self.state:
            size = max(len(batch.teachers), int(here.max()) + 1)
            self.state = {
                "weights": torch.ones(size, dtype=torch.float64),
                "first_loss": torch.full((size,), float("nan"), dtype=torch.float64),
            }
        weights, first = self.state["weights"], self.state["first_loss"]
        losses, norms = (
            by_teacher.loss.double().cpu(),
            by_teacher.gram().diagonal().clamp_min(0).sqrt(),
        )
        mix = by_teacher.share * weights[here].to(by_teacher.share)
        student.add_gradient(mix @ by_teacher.gradient)
        if losses.isfinite().all() and norms.isfinite().all() and norms.mean() > 0:
            first[here] = torch.where(first[here].isnan(), losses, first[here])
            weights[here] -= self.config.rate * slopes(
                weights[here], norms, losses / first[here], self.config.alpha
            )
            weights.clamp_(min=0)
            weights *= len(weights) / weights.sum()
        return by_teacher.step(mix)

    def state_dict(self):
        """The weights and each teacher's first loss."""
        return {name: value.clone() for name, value in self.state.items()}

    def load_state_dict(self, state) -> None:
        """Takes them back."""
        self.state = {name: value.clone().cpu() for name, value in state.items()}


def slopes(weights, norms, ratio, alpha: float):
    """(K,): d/dw_k of sum_j |G_j - T_j|, over the mean of `norms`.

    norms: |g_k|; ratio: L_k / L_k(0). Lengths within a millionth of their target are on it, else
    rounding alone would move weights.
    """
    length = weights * norms
    target = length.mean() * (ratio / ratio.mean()) ** alpha
    off = length - target
    sign = torch.where(off.abs() <= 1e-6 * length.mean(), 0.0, off.sign())
    return sign * norms / norms.mean()
