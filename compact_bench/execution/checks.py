"""What a plan checks beside data and methods: names of lm-eval's tasks, lengths of rationales."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from compact_bench.data.rationales import RationaleBank
from compact_bench.data.tasks import Prepared
from compact_bench.errors import UserError, nearest, quoted
from compact_bench.suite.schema import Suite

if TYPE_CHECKING:
    import pandas as pd

TEMPLATE_BYTES = 300  # of a chat template and an answer sentence, at most


@cache
def _lm_eval_tasks() -> frozenset[str]:
    """The names of lm-eval's tasks; it takes seconds to find them."""
    from lm_eval.tasks import TaskManager

    return frozenset(TaskManager().all_tasks)


def check_tasks(suite: Suite) -> None:
    """Raise UserError, with the suite's line, for a task that lm-eval doesn't have."""
    for place, task in enumerate(suite.evaluation.tasks):
        if task.kind == "lm_eval" and task.task not in (known := _lm_eval_tasks()):
            where = suite.where(("evaluation", "tasks", place, "task"))
            hint = nearest(task.task, known)
            raise UserError(f"{where}: lm-eval has no task {quoted(task.task)}{hint}")


def too_long(suite: Suite, all_prepared: Sequence[Prepared]) -> tuple[str, ...]:
    """A line for each condition whose rationales are in part longer than training.max_tokens.

    Raises UserError where none of a condition's is left.
    """
    limit, lines = suite.training.max_tokens, []
    names = [condition.name for condition in suite.conditions] or [""]
    for name, prepared in zip(names, all_prepared, strict=True):
        bank = prepared.train.only_teachers(prepared.train.teachers)
        # A token is a byte at the least, so that most suites need no tokenizer for this.
        texts = bank.rationales.merge(bank.questions, on="question_id", suffixes=("", "_gold"))
        read = texts["question"] + texts["text"]
        long = texts[read.map(lambda text: len(text.encode()) + TEMPLATE_BYTES) > limit]
        if long.empty:
            continue
        place = suite.where(("training", "max_tokens"))
        try:
            dropped, questions = _dropped(suite, bank, long)
        except UserError as error:
            lines.append(f"how many rationales training.max_tokens ({limit}) cuts: {error}")
            continue
        total = sum(dropped.values())
        if total == len(texts):
            raise UserError(f"{place}: all {total} rationales are longer than {limit} tokens")
        if total:
            each = ", ".join(f"{teacher} {count}" for teacher, count in dropped.items())
            lines.append(
                f"{f'{name}: ' if name else ''}{total} of {len(texts)} rationales are longer than "
                f"training.max_tokens ({limit}) and not read: {each}; {questions} questions have "
                "none left"
            )
    return tuple(lines)


def readable_characters(prepared: Prepared) -> float:
    """The characters of all that a row could read in an epoch."""
    train = prepared.train
    read = train.rationales.merge(train.questions, on="question_id")
    teachers = read[read["role"] == "teacher"]
    return float(teachers["text"].str.len().sum() + teachers["question"].str.len().sum())


def _dropped(suite: Suite, bank: RationaleBank, long: pd.DataFrame) -> tuple[dict[str, int], int]:
    """Of rationales that may be too long: how many are, by teacher; and questions left without."""
    from compact_bench.student.encode import encode_bank
    from compact_bench.student.load import load_encoder

    encoder = load_encoder(suite.student)
    part = bank.keep(long["question_id"].unique())
    examples, dropped = encode_bank(part, encoder, suite.training.max_tokens)
    return dict(dropped), len(part.questions) - len(examples)
