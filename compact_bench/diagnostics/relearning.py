"""Relearning: a few steps on old examples tell a lost skill from one that comes back at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd
import torch

from compact_bench.data.rationales import RationaleBank
from compact_bench.data.tasks import TaskData
from compact_bench.diagnostics.divergence import TextRow
from compact_bench.evaluation.lm_eval_docs import documents
from compact_bench.student.encode import Encoder
from compact_bench.student.layouts import pad_rows, real_places
from compact_bench.student.student import Student

BATCH = 4
PASSES = 2
NO_LOSS = -100  # the label of tokens that a transformers model computes no loss of


def old_rows(
    encoder: Encoder, tasks: Sequence[TaskData], old: Callable[[], RationaleBank] | None, count: int
) -> list[TextRow]:
    """Old examples as tokens: of the student's pre-training where they are known.

    Else questions of the old tasks that aren't asked, in equal parts, with the bare answer.
    """
    if old is not None:
        bank = old()
        texts = bank.rationales.merge(bank.questions[["question_id", "question"]]).head(count)
        return [
            (encoder.prompt(row.question), encoder.rationale(row.text, row.answer).ids)
            for row in texts.itertuples()
        ]
    spare = [(task, task.spare) for task in tasks if task.spare is not None and len(task.spare)]
    rows = []
    for task, more in spare:
        rows += gold_rows(encoder, task, more.head(max(1, count // len(spare))))
    return rows


def gold_rows(encoder: Encoder, task: TaskData, items: pd.DataFrame | None = None) -> list[TextRow]:
    """Prompt and gold answer of a task's items (None: those asked) as tokens, as they are asked."""
    rows: list[TextRow] = []
    for doc in documents(task, encoder, items):
        if task.kind == "choice":
            target = encoder.ids(f" {doc['choices'][doc['gold']]}")
        else:
            target = encoder.rationale("", doc["answer"]).ids[:-1]  # without the end token
        rows.append((encoder.prompt_ids(doc["prompt"]), target))
    return rows


def relearn(student: Student, rows: Sequence[TextRow], rate: float) -> None:
    """Trains on the rows, PASSES times in batches of BATCH, at a constant learning rate.

    AdamW without weight decay; the loss is the mean NLL a target token. Modules stay in eval mode.
    """
    optimizer = torch.optim.AdamW(student.trainable().values(), lr=rate, weight_decay=0.0)
    for at in [*range(0, len(rows), BATCH)] * PASSES:
        chosen = rows[at : at + BATCH]
        texts = [[*prompt, *target] for prompt, target in chosen]
        labels = [[NO_LOSS] * len(prompt) + list(target) for prompt, target in chosen]
        optimizer.zero_grad(set_to_none=True)
        loss = student.causal(
            input_ids=pad_rows(texts, student.device),
            attention_mask=real_places(texts, student.device),
            labels=pad_rows(labels, student.device, NO_LOSS),
        ).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.trainable().values(), 1.0)
        optimizer.step()
    student.model.zero_grad(set_to_none=True)
