"""Rationales that the student samples: the gold answer's marginal NLL, and the majority answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch

from compact_bench.data.answers import canonical, extract_answer
from compact_bench.evaluation.lm import ANSWER_TOKENS
from compact_bench.student.batch import Decoding
from compact_bench.student.encode import CUE, NEXT_QUESTION, Encoder
from compact_bench.student.generation import (
    Prefix,
    Stops,
    batches,
    continue_with,
    decode,
    end_ids,
    generate,
    prefill,
)
from compact_bench.student.student import Student
from compact_bench.suite.sections import EvaluationSpec


@dataclass(frozen=True)
class Sampled:
    """An item's sampled rationales, and the marginal NLL of its gold answer by them, nats.

    variance, bias: of the NLL over other draws of as many rationales, by the jackknife; NaN for
    one rationale. -log is convex, so that few rationales give too high an NLL.
    """

    prompt: Sequence[int]
    rationales: tuple[str, ...]
    nll: float
    variance: float = math.nan
    bias: float = math.nan


def sample_items(
    student: Student,
    items: pd.DataFrame,
    spec: EvaluationSpec,
    decoding: Decoding,
    seed: int,
) -> list[Sampled]:
    """`sample` for the items of a task, in the prompt of `decoding`."""
    prompts = [
        student.encoder.prompt(question, decoding.prompt, decoding.prefix)
        for question in items["question"]
    ]
    return sample(
        student.causal,
        student.encoder,
        list(zip(prompts, items["answer"], strict=True)),
        samples=spec.marginal_samples,
        max_new_tokens=spec.max_new_tokens,
        batch_size=spec.batch_size,
        seed=seed,
    )


def sample(
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
    prompt is read once for all M. What is drawn doesn't depend on the batch size, and the global
    random state is not touched.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (len(items), samples, max_new_tokens)
    noise = torch.rand(shape, generator=generator, dtype=torch.float64)
    stops = Stops(
        encoder.tokenizer, (CUE.strip(), NEXT_QUESTION), end_ids(model, encoder.tokenizer)
    )
    by_item: dict[int, Sampled] = {}
    for chosen in batches([len(ids) for ids, _ in items], max(1, batch_size // samples)):
        prefix = prefill(model, [items[i][0] for i in chosen], max_new_tokens)
        rows = [n for n in range(len(chosen)) for _ in range(samples)]  # question-major, N*M
        own_noise = noise[chosen].flatten(0, 1)  # (N*M,max_new_tokens)
        drawn = decode(model, prefix.taken(rows), stops, max_new_tokens, own_noise)
        bodies = [stops.cut(stops.text(row.ids)) for row in drawn]
        answers = [items[chosen[n]][1] for n in rows]
        logs = answer_log_chances(model, encoder, prefix.taken(rows), bodies, answers)
        for n, i in enumerate(chosen):
            own = slice(n * samples, (n + 1) * samples)
            nll = negative_log_mean_exp(logs[own])
            noise_of = jackknife(logs[own])
            by_item[i] = Sampled(items[i][0], tuple(bodies[own]), nll, *noise_of)
    return [by_item[i] for i in range(len(items))]


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


def jackknife(log_chances: Sequence[float]) -> tuple[float, float]:
    """Variance and bias of `negative_log_mean_exp` over its M draws, in nats^2 and nats.

    With f_m the value without draw m and f the value with all: the variance is
    (M-1)/M sum_m (f_m - mean f)^2, the bias (M-1) (mean f - f). NaN where M is 1 or a draw alone
    has a chance above 0. Source: Efron & Stein 1981.
    """
    count = len(log_chances)
    left_out = [
        negative_log_mean_exp([*log_chances[:m], *log_chances[m + 1 :]])
        for m in range(count if count > 1 else 0)
    ]
    if not left_out or not all(map(math.isfinite, left_out)):
        return math.nan, math.nan
    mean = math.fsum(left_out) / count
    spread = math.fsum((value - mean) ** 2 for value in left_out)
    bias = (count - 1) * (mean - negative_log_mean_exp(log_chances))
    return (count - 1) / count * spread, bias


def votes(
    model: Any, encoder: Encoder, items: Sequence[Sampled], kinds: Sequence[str], batch_size: int
) -> list[list[str | None]]:
    """For each item its answers after its rationales; None where none can be taken.

    kinds: of the answers. An answer is written greedily after rationale and cue, as in a second
    pass. Source: Wang et al. 2023, self-consistency.
    """
    prompts = [
        [*item.prompt, *encoder.ids((f" {body.strip()}" if body.strip() else "") + CUE)]
        for item in items
        for body in item.rationales
    ]
    stops = Stops(encoder.tokenizer, (NEXT_QUESTION,), end_ids(model, encoder.tokenizer))
    written = iter(
        generate(model, prompts, stops, max_new_tokens=ANSWER_TOKENS, batch_size=batch_size)
    )
    return [
        [
            extract_answer(CUE + stops.cut(stops.text(next(written).ids)), kind)
            for _ in item.rationales
        ]
        for item, kind in zip(items, kinds, strict=True)
    ]


def majority(answers: Sequence[str | None], kind: str) -> str | None:
    """The commonest answer; of equally common ones the first. None where there is no answer.

    >>> majority(["7", None, "12", "7.0"], "number")
    '7'
    """
    values = [value for answer in answers if answer and (value := canonical(answer, kind))]
    return max(values, key=values.count) if values else None
