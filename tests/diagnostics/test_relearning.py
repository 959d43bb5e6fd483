"""Relearning: it lowers the loss, changes nothing after, and reads questions that are not asked."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from compact_bench.data.tasks import TaskData
from compact_bench.diagnostics.divergence import token_nll
from compact_bench.diagnostics.relearning import old_rows, relearn
from compact_bench.diagnostics.weights import holding


def test_relearning_lowers_the_loss_of_what_is_relearned(student, prompts):
    rows = [(prompt, student.encoder.ids(" seven.")) for prompt in prompts]
    own = student.state_dict()
    with holding(student, own):
        before = np.concatenate(token_nll(student, rows)).mean()
        relearn(student, rows, rate=1e-2)
        after = np.concatenate(token_nll(student, rows)).mean()
    assert after < before
    assert all(torch.equal(own[name], p) for name, p in student.state_dict().items())
    assert all(p.grad is None for p in student.trainable().values())


def test_old_examples_come_from_questions_that_are_not_asked(student):
    spare = pd.DataFrame(
        {
            "question_id": ["a", "b", "c"],
            "question": ["Where? Answer choices: (A) here (B) there"] * 3,
            "answer": ["B", "A", "B"],
            "answer_kind": "choice",
            "choices": [["here", "there"]] * 3,
            "gold": [1, 0, 1],
        }
    )
    task = TaskData("old", "choice", "forgetting", spare.head(0), 0.5, spare)
    silent = TaskData("none", "generate", "forgetting", spare.head(0), 0.0)
    rows = old_rows(student.encoder, [task, silent], None, 2)
    texts = [student.tokenizer.decode([*prompt, *target]) for prompt, target in rows]
    assert texts == ["Question: Where?\nAnswer: there", "Question: Where?\nAnswer: here"]
    assert old_rows(student.encoder, [silent], None, 2) == []
