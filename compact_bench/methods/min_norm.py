"""The quadratic programme behind methods that combine gradients: least norm under caps."""

from __future__ import annotations

from collections.abc import Sequence

from compact_bench.utils.lazy import Tensor, torch

SLACK = 1e-12  # a weight this near to its bound is at it
ROUNDS = 20_000


def capped_weights(
    gram: Tensor,
    cap: Tensor,
    linear: Tensor | None = None,
    start: Sequence[float] | None = None,
) -> Tensor:
    """argmin over w of 1/2 w'Gw + l'w, subject to sum_k w_k = 1 and 0 <= w_k <= cap_k.

    gram: (K,K) inner products of K gradients; cap, linear (0 if None): (K,). Returns (K,) float64
    on the CPU. Pairs of weights are moved, the most violating one first, each to its own optimum:
    K is a number of teachers, so a step costs microseconds and no matrix is inverted (parallel
    gradients make G singular). start: feasible weights to begin with. A G that is not finite gives
    cap / sum(cap): the trainer finds that a run diverged.

    Raises ValueError where the caps sum to less than 1.
    """
    caps = cap.double().cpu()
    if float(caps.sum()) < 1 - 1e-6:
        raise ValueError(f"caps {caps.tolist()} sum to less than 1: no weights fit under them")
    even = caps / caps.sum()
    weights = list(start) if start is not None else even.tolist()
    slope = torch.zeros_like(caps) if linear is None else linear.double().cpu()
    matrix = gram.double().cpu()
    if not bool(matrix.isfinite().all() and slope.isfinite().all()):
        return even
    slopes = (matrix @ torch.tensor(weights, dtype=torch.float64) + slope).tolist()
    products, most, size = matrix.tolist(), caps.tolist(), range(len(weights))
    scale = max(max(abs(products[k][k]) for k in size), max(map(abs, slopes)), 1e-300)
    for _ in range(ROUNDS):
        give = max((k for k in size if weights[k] > SLACK), key=slopes.__getitem__)
        takers = [k for k in size if weights[k] < most[k] - SLACK]
        take = min(takers, key=slopes.__getitem__, default=give)
        gain = slopes[give] - slopes[take]
        if gain <= 1e-13 * scale:
            break
        curve = products[give][give] + products[take][take] - 2 * products[give][take]
        step = min(weights[give], most[take] - weights[take])
        if curve > 0:
            step = min(step, gain / curve)
        weights[give] -= step
        weights[take] += step
        for k in size:
            slopes[k] += step * (products[k][take] - products[k][give])
    return torch.tensor(weights, dtype=torch.float64)
