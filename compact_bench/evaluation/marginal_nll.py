"""The gold answer's marginal NLL by rationales that the student samples itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from compact_bench.evaluation.lm_eval_docs import NEXT_QUESTION
from compact_bench.student.encode import CUE, Encoder
from compact_bench.student.generation import (
    Prefix,
    Stops,
    batches,
    continue_with,
    decode,
    end_ids,
    prefill,
)


def negative_log_mean_exp(log_chances: Sequence[float]) -> float:
    """-log((1/M) sum_m exp(l_m)), nats, of M log-probabilities.

    >>> round(math.exp(-negative_log_mean_exp([math.log(0.5), math.log(0.25)])), 6)
    0.375
    """
    top = max(log_chances)
    if top == -math.inf:
        return math.inf
    total = math.fsum(math.exp(value - top) for value in log_chances)
    return math.log(len(log_chances)) - top - math.log(total)


@dataclass(frozen=True)
class Sampled:
    """The marginal NLL of one item's gold answer, nats, and the rationales it was read from."""

    nll: float
    rationales: tuple[str, ...]


def sampled(
    model: Any,
    encoder: Encoder,
    items: Sequence[tuple[Sequence[int], str]],
    *,
    samples: int,
    max_new_tokens: int,
    batch_size: int,
    seed: int,
) -> list[Sampled]:
    """-log (1/M) sum_m p(answer | prompt, r_m, cue) of every item (prompt ids, gold answer).

    M = `samples` rationales r_m are drawn from the student at temperature 1, each cut before the
    cue if it wrote one; p is of all tokens of the gold answer, so nats are summed over them. The
    end token is not counted: a base student doesn't know that an answer ends the text. The
    prompt is read once for all M. The global random state is not touched.
    """
    generator = torch.Generator().manual_seed(seed)
    stops = Stops(
        encoder.tokenizer, (CUE.strip(), NEXT_QUESTION), end_ids(model, encoder.tokenizer)
    )
    found: dict[int, Sampled] = {}
    for chosen in batches([len(ids) for ids, _ in items], max(1, batch_size // samples)):
        prefix = prefill(model, [items[i][0] for i in chosen])
        rows = [n for n in range(len(chosen)) for _ in range(samples)]  # question-major, N*M
        drawn = decode(model, prefix.taken(rows), stops, max_new_tokens, generator)
        bodies = [stops.cut(stops.text(row.ids)) for row in drawn]
        answers = [items[chosen[n]][1] for n in rows]
        logs = answer_log_chances(model, encoder, prefix.taken(rows), bodies, answers)
        for n, i in enumerate(chosen):
            mine = slice(n * samples, (n + 1) * samples)
            found[i] = Sampled(negative_log_mean_exp(logs[mine]), tuple(bodies[mine]))
    return [found[i] for i in range(len(items))]


def marginal_nll(
    model: Any, encoder: Encoder, items: Sequence[tuple[Sequence[int], str]], **options: Any
) -> list[float]:
    """The marginal NLL of every item, nats; `options` as `sampled` has them."""
    return [one.nll for one in sampled(model, encoder, items, **options)]


def answer_log_chances(
    model: Any, encoder: Encoder, prefix: Prefix, bodies: Sequence[str], answers: Sequence[str]
) -> list[float]:
    """log p(answer | prompt, rationale, cue) of N rows, nats, summed over the answer's tokens.

    Rationale, cue and answer are tokenised as one text, as in training. The prefix is used up.
    """
    encoded = [encoder.rationale(b, a) for b, a in zip(bodies, answers, strict=True)]
    rows = [target.ids[:-1] for target in encoded]  # without the end token
    starts = [target.answer_start for target in encoded]
    return [value for value, _ in continue_with(model, prefix, rows, starts)]
