"""How hard a rationale is for the student, by its negative log-likelihood."""

from __future__ import annotations

from collections.abc import Sequence

from compact_bench.methods.fusion import check_finite
from compact_bench.utils.lazy import Tensor, torch

IQR_OF_NORMAL = 1.35  # a normal distribution's interquartile range, in standard deviations
SMALLEST_WIDTH = 1e-6


def easier(nll: Tensor, present: Tensor) -> Tensor:
    """-L: the easier, the better. nll: (B,R) nats a token; NaN where absent."""
    check_finite(nll[present], "difficulty")
    return (-nll.float()).masked_fill(~present, float("nan"))


def manageable(nll: Tensor, present: Tensor, seen: Tensor, counts: Tensor) -> Tensor:
    """exp(-max(0, L - q)^2 / (2 sigma^2)): what is as easy as the easiest quarter has all of it.

    q and sigma: lower quartile and interquartile range / 1.35 of the losses `seen`. The quartile
    stays among sound rationales as long as a quarter of them are; the median of two kinds of unlike
    difficulty is of neither, or of the wrong one. Shapes and errors as in `readiness`.
    """
    return _bump(nll, present, seen, counts, quartile=0, too_easy=False)


def readiness(nll: Tensor, present: Tensor, seen: Tensor, counts: Tensor) -> Tensor:
    """exp(-(L - mu)^2 / (2 sigma^2)): a bump around the usual loss, mu the median of `seen`.

    seen: (n,) losses of the rationales seen lately; nothing seen gives 1 everywhere. counts: (n,)
    how much each of them counts (`decayed`). nll: (B,R) nats a token. Returns (B,R) in [0, 1], NaN
    where absent. Raises ValueError for NaN or infinite losses.
    """
    return _bump(nll, present, seen, counts, quartile=1, too_easy=True)


def _bump(
    nll: Tensor,
    present: Tensor,
    seen: Tensor,
    counts: Tensor,
    quartile: int,
    too_easy: bool,
) -> Tensor:
    """The bump around a quartile; without `too_easy` it falls off on the hard side alone."""
    check_finite(nll[present], "difficulty")
    check_finite(seen, "difficulty, losses seen")
    values = nll.float()
    bump = torch.ones_like(values)
    if seen.numel():
        quartiles = quantiles(seen, counts.to(seen), (0.25, 0.5, 0.75))
        width = ((quartiles[2] - quartiles[0]) / IQR_OF_NORMAL).clamp_min(SMALLEST_WIDTH)
        beyond = (values - quartiles[quartile].float()) / width.float()
        bump = torch.exp(-0.5 * (beyond if too_easy else beyond.clamp_min(0)) ** 2)
    return bump.masked_fill(~present, float("nan"))


def decayed(ages: Tensor, half_life: float | None) -> Tensor:
    """2^(-age / half_life), all 1 without a half-life; ages: (n,), in rationales read since."""
    return torch.ones(len(ages)) if half_life is None else 0.5 ** (ages / half_life)


def quantiles(values: Tensor, weights: Tensor, at: Sequence[float]) -> Tensor:
    """Weighted quantiles: (n,) values, (n,) weights, shares `at` in [0, 1].

    The i-th smallest value stands at (w_1 + ... + w_i - w_i / 2) / sum w, and quantiles between
    two values are interpolated; numpy's "hazen" where weights are equal.
    """
    order = values.argsort()
    values, weights = values[order].double(), weights[order].double()
    place = (weights.cumsum(0) - weights / 2) / weights.sum()
    wanted = torch.tensor(at, dtype=place.dtype, device=place.device)
    above = torch.searchsorted(place, wanted).clamp(1, max(1, len(values) - 1))
    if len(values) == 1:
        return values.expand(len(at))
    low, high = place[above - 1], place[above]
    share = ((wanted - low) / (high - low).clamp_min(1e-30)).clamp(0, 1)
    return values[above - 1].lerp(values[above], share)
