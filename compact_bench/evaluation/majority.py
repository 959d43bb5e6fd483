"""The majority of the answers that a student gives after rationales of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from compact_bench.data.answers import canonical, extract_answer
from compact_bench.evaluation.lm import ANSWER_TOKENS
from compact_bench.evaluation.lm_eval_docs import NEXT_QUESTION
from compact_bench.student.encode import CUE, Encoder
from compact_bench.student.generation import Stops, end_ids, generate


def votes(
    model: Any,
    encoder: Encoder,
    items: Sequence[tuple[Sequence[int], Sequence[str], str]],
    batch_size: int,
) -> list[list[str | None]]:
    """For each item its answers after its sampled rationales; None where none can be taken.

    items: prompt ids, rationales without cue, kind of answer. The answer is written greedily after
    rationale and cue, as in a second pass.  Source: Wang et al. 2023, self-consistency.
    """
    prompts = [
        [*prompt, *encoder.ids((f" {body.strip()}" if body.strip() else "") + CUE)]
        for prompt, bodies, _ in items
        for body in bodies
    ]
    stops = Stops(encoder.tokenizer, (NEXT_QUESTION,), end_ids(model, encoder.tokenizer))
    written = iter(
        generate(model, prompts, stops, max_new_tokens=ANSWER_TOKENS, batch_size=batch_size)
    )
    return [
        [extract_answer(CUE + stops.cut(stops.text(next(written).ids)), kind) for _ in bodies]
        for _, bodies, kind in items
    ]


def majority(answers: Sequence[str | None], kind: str) -> str | None:
    """The commonest answer; of equally common ones the first. None where there is no answer.

    >>> majority(["7", None, "12", "7.0"], "number")
    '7'
    """
    found = [value for answer in answers if answer and (value := canonical(answer, kind))]
    return max(found, key=found.count) if found else None
