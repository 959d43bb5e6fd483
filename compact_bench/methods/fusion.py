"""From scores to weights: normalise, combine, masked softmax. Pure functions of tensors.

Sizes: B questions, R rationales a question. A score is (B,R) float32, NaN where a rationale has
none; what is absent has none either.
"""

from __future__ import annotations

from collections.abc import Sequence

from compact_bench.utils.lazy import Tensor, torch

LARGE = 2**22  # logits of a question's rationales; fewer aren't worth computing twice


def check_finite(values: Tensor, name: str) -> None:
    """Raises ValueError where a value is NaN or infinite: it would poison every later step."""
    if not bool(values.isfinite().all()):
        raise ValueError(f"{name}: NaN or infinite values")


def within_question_z(score: Tensor) -> Tensor:
    """z = (x - mean) / (std + 1e-4) over one question's rationales; all ones for one rationale.

    score: (R,), unbiased std. As in COMPACT's release (arXiv 2601.13992).
    """
    if score.numel() == 1:
        return torch.ones_like(score)
    return (score - score.mean()) / (score.std() + 1e-4)


def softmax_weights(
    scores: Sequence[Tensor], betas: Sequence[float], temperature: float = 1.0
) -> Tensor:
    """w = softmax(sum_i beta_i z_i / temperature) over the last dimension, detached."""
    utility = sum(
        (beta * z for beta, z in zip(betas, scores, strict=True)), torch.zeros_like(scores[0])
    )
    return torch.softmax(utility / temperature, dim=-1).detach()


def known(score: Tensor, present: Tensor) -> Tensor:
    """(B,R) bool: present rationales with a score. Raises ValueError for an infinite one."""
    if bool(score[present].isinf().any()):
        raise ValueError("a score is infinite")
    return present & ~score.isnan()


def centred(score: Tensor, present: Tensor) -> Tensor:
    """x - mean over the question's scored rationales; 0 where absent or without a score.

    The level between questions cancels in the softmax. score, present: (B,R).
    """
    scored = known(score, present)
    values = torch.where(scored, score.float(), torch.zeros_like(score.float()))
    mean = values.sum(-1, keepdim=True) / scored.sum(-1, keepdim=True).clamp_min(1)
    return torch.where(scored, values - mean, torch.zeros_like(values))


def variances(score: Tensor, present: Tensor) -> Tensor:
    """(Q,) unbiased variance within each question that has two scored rationales or more."""
    scored = known(score, present)
    count = scored.sum(-1)
    total = (centred(score, present) ** 2).sum(-1)
    return (total / (count - 1).clamp_min(1))[count > 1]


def scaled(score: Tensor, present: Tensor, scale: float, clip: float) -> Tensor:
    """z = (x - mean over the question) / scale, clipped to +-clip; neutral 0 where missing.

    A scale of 0 (no rationale has differed from its question's others yet) gives 0 everywhere.
    """
    if scale <= 0:
        return torch.zeros_like(score, dtype=torch.float32)
    return (centred(score, present) / scale).clamp(-clip, clip)


def scaled_within(score: Tensor, present: Tensor) -> Tensor:
    """`within_question_z` for a batch: z by the question's own spread, 0 where missing."""
    scored = known(score, present)
    z = torch.zeros_like(score, dtype=torch.float32)
    for b in range(score.shape[0]):
        if bool(scored[b].any()):
            z[b, scored[b]] = within_question_z(score[b, scored[b]].float())
    return z


def masked_softmax(utility: Tensor, present: Tensor, temperature: float = 1.0) -> Tensor:
    """(B,R) softmax(u / temperature) over what is present; 0 where absent, also where all are."""
    utility = utility.masked_fill(~present, float("-inf"))
    top = utility.max(-1, keepdim=True).values
    top = torch.where(top.isfinite(), top, torch.zeros_like(top))
    part = torch.exp((utility - top) / temperature)
    return part / part.sum(-1, keepdim=True).clamp_min(1e-30)


def with_floor(weights: Tensor, present: Tensor, floor: float) -> Tensor:
    """(1 - floor) w + floor / (rationales present): no rationale is ever switched off."""
    count = present.sum(-1, keepdim=True).clamp_min(1)
    return (1 - floor) * weights + floor * present.to(weights.dtype) / count


def effective_number(weights: Tensor) -> Tensor:
    """(B,) exp(entropy of the weights): how many rationales count, 1 to R."""
    entropy = -torch.xlogy(weights, weights).sum(-1)
    return entropy.exp()


def consistency(logits: Tensor, real: Tensor, weights: Tensor, smallest_pair: float) -> Tensor:
    """sum_{i<j} w_i w_j mean_t [KL(p_i, p_j) + KL(p_j, p_i)] over t real in both rows.

    logits: (K,T,V); real: (K,T) bool, a row's real tokens first; weights: (K,). Pairs with
    w_i w_j < smallest_pair are left out. Returns a scalar, nats. As in COMPACT's release (arXiv
    2601.13992).
    """
    log_p = torch.log_softmax(logits, dim=-1)
    p = log_p.exp()
    lengths = real.sum(-1).tolist()
    total = logits.new_zeros(())
    for i in range(len(weights)):
        for j in range(i + 1, len(weights)):
            pair = weights[i] * weights[j]
            n = min(lengths[i], lengths[j])
            if pair < smallest_pair or not n:
                continue
            rows = (p[i, :n], log_p[i, :n], p[j, :n], log_p[j, :n])
            if logits.numel() < LARGE:
                total = total + pair * _symmetric_divergence(*rows)
                continue
            # Recomputed in the backward pass: kept, each pair's differences would be as large as
            # all of its two rows' logits.
            divergence = torch.utils.checkpoint.checkpoint(
                _symmetric_divergence, *rows, use_reentrant=False, preserve_rng_state=False
            )
            total = total + pair * divergence
    return total


def _symmetric_divergence(p: Tensor, log_p: Tensor, q: Tensor, log_q: Tensor) -> Tensor:
    """mean_t [KL(p, q) + KL(q, p)] of (T,V) each."""
    return ((p - q) * (log_p - log_q)).sum(-1).mean()


def question_consistency(
    logits: Tensor, real: Tensor, weights: Tensor, present: Tensor, smallest_pair: float
) -> Tensor:
    """(B,) `consistency` of each question's present rationales, nats.

    logits: (B,R,T,V); real: (B,R,T) bool; weights, present: (B,R).
    """
    terms = [
        consistency(logits[b, rows], real[b, rows], weights[b, rows], smallest_pair)
        for b, rows in enumerate(present)
    ]
    return torch.stack(terms)


def token_divergence(
    reference: Tensor, logits: Tensor, lengths: Tensor, temperature: float = 1.0
) -> Tensor:
    """mean over t of KL(p_t, q_t), p from `reference` and q from `logits`, both over temperature.

    reference, logits: (B,R,T,V); lengths: (B,R), how many of the T are a row's. Where models of one
    tokenizer pad their vocabulary to unlike sizes, the tokens of both are compared. Returns (B,R)
    float32, nats a token, 0 for a row without tokens.
    """
    shared = min(reference.shape[-1], logits.shape[-1])
    reference, logits = reference[..., :shared], logits[..., :shared]
    log_p = torch.log_softmax(reference.float() / temperature, dim=-1)
    log_q = torch.log_softmax(logits.float() / temperature, dim=-1)
    divergence = (log_p.exp() * (log_p - log_q)).sum(-1)  # (B,R,T)
    real = torch.arange(divergence.shape[-1], device=lengths.device) < lengths[..., None]
    return (divergence * real).sum(-1) / lengths.clamp_min(1)
