"""How much a rationale moves the student towards the gold answer."""

from __future__ import annotations

from compact_bench.methods.fusion import check_finite
from compact_bench.utils.lazy import Tensor, torch

# Words at which the released implementation expects an insight.
THINKING_WORDS = (
    *("Therefore", "Thus", "Hence", "So", "Consequently", "Wait", "But", "However", "Although"),
    *("First", "Second", "Finally", "Specifically", "In summary", "Basically", "Let"),
    *("Assuming", "Suppose", "Hmm", "Okay", "Note"),
)


def logit_rises(hidden: Tensor, head_rows: Tensor, position_weight: Tensor) -> Tensor:
    """Sum of the rises of the gold answer's mean logit along the row.

    s_t = mean_j h_t . W[a_j];  M = sum_{t >= 1} m_t relu(s_t - s_{t-1})

    hidden: (..., T, D); head_rows: (A, D), rows of the language-model head for the answer's
    tokens; position_weight m: (..., T). Returns (...), in logits. As in COMPACT's release
    (arXiv 2601.13992): it runs over prompt and padding too.
    """
    logit = (hidden @ head_rows.T).mean(-1)  # (..., T)
    rise = torch.relu(logit[..., 1:] - logit[..., :-1])
    return (position_weight[..., 1:] * rise).sum(-1)


def mutual_information(
    nll: Tensor, other_nll: Tensor, present: Tensor, discount: float = 1.0
) -> Tensor:
    """(log p(r | q) - discount log p(r | q')) / tokens: how much the rationale is the question's.

    At 1 the pointwise mutual information of question and rationale under the student, the marginal
    p(r) by one draw q' of another question; at 0 the rationale's likelihood. It asks for no answer,
    so that copying one gains nothing, and discounts what a rationale owes to its wording alone
    (filler, a familiar style). nll, other_nll: (B,R) mean NLL after its own question and after
    another, nats a token. Returns (B,R), NaN where absent. Raises ValueError for NaN or infinite
    losses. Source: Li et al. 2016, MMI-antiLM.
    """
    check_finite(nll[present], "adaptability")
    check_finite(other_nll[present], "adaptability")
    return (discount * other_nll - nll).float().masked_fill(~present, float("nan"))


def net_gain(gain: Tensor) -> Tensor:
    """v_last - v_0: what the open part of a rationale adds to the gold answer's log-likelihood.

    Pointwise V-information of the rationale about the answer under the student (Xu et al. 2020,
    Ethayarajh et al. 2022), stepwise. gain d_s = v_s - v_{s-1}: (B,R,S) nats an answer token, NaN
    where a step is not open. Returns (B,R), NaN where no step is open.
    Raises ValueError for an infinite gain.
    """
    _check(gain)
    return _or_missing(torch.nan_to_num(gain, nan=0.0).sum(-1), gain)


def positive_gains(gain: Tensor, other_gain: Tensor) -> Tensor:
    """sum_s relu(d_s) less what rationales of another question give over as many steps.

    Noise alone makes the sum grow with the number of steps S: sum relu(d) - S mean relu(d'),
    d' the gains (B,R',S') of the rationales of another question, for the same answer. Where
    those have no open step, the mean over all of `other_gain` stands in; where there is none
    at all, the score is missing. gain: (B,R,S). Returns (B,R) nats an answer token.
    """
    _check(gain)
    _check(other_gain)
    rises = torch.relu(torch.nan_to_num(gain, nan=0.0)).sum(-1)  # (B,R)
    other_rises = torch.relu(other_gain)
    everywhere = torch.nanmean(other_rises)
    noise = torch.nanmean(other_rises, dim=(-1, -2))[:, None]  # (B,1), a step's
    noise = torch.where(noise.isnan(), everywhere, noise)
    return _or_missing(rises - open_steps(gain) * noise, gain)


def open_steps(gain: Tensor) -> Tensor:
    """(B,R) int64: how many steps a rationale takes before it gives the answer away."""
    return (~gain.isnan()).sum(-1)


def epiphanies(gain: Tensor, kappa: float) -> Tensor:
    """(B,R,S) bool: the steps whose gain exceeds kappa, in nats an answer token."""
    return gain > kappa  # never where it is NaN


def _or_missing(score: Tensor, gain: Tensor) -> Tensor:
    return torch.where(open_steps(gain) > 0, score, torch.full_like(score, float("nan")))


def _check(gain: Tensor) -> None:
    if bool(gain.isinf().any()):
        raise ValueError("adaptability: infinite gain")
