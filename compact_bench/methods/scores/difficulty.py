"""How hard a rationale is for the student, by its negative log-likelihood."""

from __future__ import annotations

from compact_bench.methods.fusion import check_finite
from compact_bench.utils.lazy import Tensor, torch

IQR_OF_NORMAL = 1.35  # a normal distribution's interquartile range, in standard deviations
SMALLEST_WIDTH = 1e-6


def easier(nll: Tensor, present: Tensor) -> Tensor:
    """-L: the easier, the better. nll: (B,R) nats a token; NaN where absent."""
    check_finite(nll[present], "difficulty")
    return (-nll.float()).masked_fill(~present, float("nan"))


def readiness(nll: Tensor, present: Tensor, seen: Tensor) -> Tensor:
    """exp(-(L - mu)^2 / (2 sigma^2)): a bump around what the student is ready for.

    mu and sigma: median and interquartile range / 1.35 of `seen`, (n,), the losses of the
    rationales seen lately; nothing seen gives 1 everywhere. nll: (B,R) nats a token. Returns (B,R)
    in (0, 1], NaN where absent. Raises ValueError for NaN or infinite losses.
    """
    check_finite(nll[present], "difficulty")
    check_finite(seen, "difficulty, losses seen")
    values = nll.float()
    bump = torch.ones_like(values)
    if seen.numel():
        at = torch.tensor([0.25, 0.5, 0.75], dtype=seen.dtype, device=seen.device)
        low, middle, high = torch.quantile(seen, at).unbind()
        width = ((high - low) / IQR_OF_NORMAL).clamp_min(SMALLEST_WIDTH)
        bump = torch.exp(-0.5 * ((values - middle.float()) / width.float()) ** 2)
    return bump.masked_fill(~present, float("nan"))
