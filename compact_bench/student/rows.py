"""Which tokens a forward reads and which it is asked to predict."""

from __future__ import annotations

from compact_bench.api import Batch, Context, PromptKind, Target
from compact_bench.student.encode import Encoder
from compact_bench.student.layouts import Row


def make_rows(
    batch: Batch, encoder: Encoder, target: Target, prompt: PromptKind, context: Context
) -> list[Row]:
    """The rows of a forward, absent rationales left out.

    A target "answer" asked from the question alone does not depend on the rationale: one row a
    question, in slot 0.
    """
    present = batch.present.tolist()
    rows = []
    for b, question in enumerate(batch.questions):
        gold = batch.answer_ids[b] + encoder.eos
        if target == "answer" and context == "question" and prompt != "teacher":
            prefix = _prompt(batch, encoder, b, 0, prompt)
            rows.append(Row(b, 0, prefix, encoder.cue + gold))
            continue
        for r, here in enumerate(present[b]):
            if not here:
                continue
            prefix = _prompt(batch, encoder, b, r, prompt)
            ids, body_end = batch.rationale_ids[b][r], batch.body_end[b][r]
            if target == "rationale+answer":
                rows.append(Row(b, r, prefix, ids))
            elif target == "rationale":
                rows.append(Row(b, r, prefix, ids[:body_end] + encoder.eos))
            elif context == "question+rationale":
                rows.append(Row(b, r, prefix + ids[:body_end] + encoder.cue, gold))
            else:
                rows.append(Row(b, r, prefix, encoder.cue + gold))
        if not question:
            raise ValueError(f"question {batch.question_id[b]} has no text")
    return rows


def _prompt(batch: Batch, encoder: Encoder, b: int, r: int, kind: PromptKind) -> list[int]:
    if kind == "plain":
        return batch.prompt_ids[b]
    mark = ""
    if kind == "teacher":
        mark = f"[{batch.teachers[int(batch.teacher[b, r])]}] "
    return encoder.prompt(batch.questions[b], kind, mark)
