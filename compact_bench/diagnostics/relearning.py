"""A few steps on old examples tell a skill that is gone from one that comes back at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd
import torch

from compact_bench.data.rationales import RationaleBank
from compact_bench.data.tasks import TaskData
from compact_bench.diagnostics.divergence import Row
from compact_bench.evaluation.lm_eval_docs import documents
from compact_bench.student.encode import Encoder
from compact_bench.student.student import Student

BATCH = 4

PASSES = 2


def old_rows(
    encoder: Encoder, tasks: Sequence[TaskData], old: Callable[[], RationaleBank] | None, count: int
) -> list[Row]:
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


def gold_rows(encoder: Encoder, task: TaskData, items: pd.DataFrame | None = None) -> list[Row]:
    """Prompt and gold answer of a task's items (None: those asked) as tokens, as they are asked."""
    rows: list[Row] = []
    for doc in documents(task, encoder, items):
        if task.kind == "choice":
            target = encoder.ids(f" {doc['choices'][doc['gold']]}")
        else:
            target = encoder.rationale("", doc["answer"]).ids[:-1]  # without the end token
        rows.append((encoder.bos + encoder.ids(doc["prompt"]), target))
    return rows


def relearn(student: Student, rows: Sequence[Row], rate: float) -> None:
    """Trains on the rows, PASSES times in batches of BATCH, at a constant learning rate.

    AdamW without weight decay; the loss is the mean NLL a target token. Modules stay in eval mode.
    """
    optimizer = torch.optim.AdamW(student.trainable().values(), lr=rate, weight_decay=0.0)
    for at in [*range(0, len(rows), BATCH)] * PASSES:
        chosen = rows[at : at + BATCH]
        width = max(len(prompt) + len(target) for prompt, target in chosen)
        ids = torch.zeros((len(chosen), width), dtype=torch.int64)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)  # -100: no loss there
        for n, (prompt, target) in enumerate(chosen):
            end = len(prompt) + len(target)
            ids[n, :end] = torch.tensor([*prompt, *target])
            mask[n, :end] = 1
            labels[n, len(prompt) : end] = torch.tensor(list(target))
        optimizer.zero_grad(set_to_none=True)
        loss = student.causal(
            input_ids=ids.to(student.device),
            attention_mask=mask.to(student.device),
            labels=labels.to(student.device),
        ).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.trainable().values(), 1.0)
        optimizer.step()
    student.model.zero_grad(set_to_none=True)
