"""The data of a run: the training bank, the dev split, and the items of each task."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from compact_bench.data.rationales import RationaleBank
from compact_bench.data.splits import lowest, parse_choices, template_clean
from compact_bench.errors import UserError, quoted
from compact_bench.suite.schema import IN_DOMAIN, Suite

GENERATED_ITEMS = 500  # questions of a generated task beside the test, unless a suite limits them
SPARE = 200  # questions of a task beside those of the evaluation


@dataclass(frozen=True)
class TaskData:
    """The items of one task.

    items: question_id, question, answer, answer_kind; for kind "choice" also choices (tuple of
    str) and gold (index of the right one). Empty for kind "lm_eval". chance: accuracy of guessing.
    spare: more questions of the task, on which nobody is evaluated; None where there are none.
    """

    name: str
    kind: Literal["generate", "choice", "lm_eval"]
    role: str
    items: pd.DataFrame
    chance: float
    spare: pd.DataFrame | None = None


@dataclass(frozen=True)
class Prepared:
    """All data of a run; tasks hold test questions (in_domain: dev where the suite selects)."""

    train: RationaleBank
    dev: pd.DataFrame
    tasks: tuple[TaskData, ...]
    fingerprint: str
    notes: tuple[str, ...]


def dev_task(suite: Suite, dev: pd.DataFrame) -> TaskData:
    """The dev split as a task of the kind that the suite's in-domain task is."""
    spec = suite.in_domain
    items = items_of(lowest(dev, None)).reset_index(drop=True)
    if spec and spec.kind == "choice":
        return TaskData(IN_DOMAIN, "choice", spec.role, with_choices(items, IN_DOMAIN), spec.chance)
    return TaskData(IN_DOMAIN, "generate", "reasoning", items, 0.0)


def items_of(table: pd.DataFrame) -> pd.DataFrame:
    """A question table as items: the column kind is called answer_kind there."""
    return table.rename(columns={"kind": "answer_kind"})


def with_choices(items: pd.DataFrame, task: str) -> pd.DataFrame:
    """Items with the columns choices and gold, from the choices that the question lists."""
    choices = [tuple(parse_choices(question)[1]) for question in items["question"]]
    gold = [ord(answer) - ord("A") if len(answer) == 1 else -1 for answer in items["answer"]]
    for question, listed, index in zip(items["question"], choices, gold, strict=True):
        if not 0 <= index < len(listed):
            raise UserError(
                f"task {task}: no choices (A), (B), ... or not the right one in {quoted(question)}"
            )
    return items.assign(choices=pd.Series(choices, items.index, dtype=object), gold=gold)


def template_clean_items(tasks: Iterable[TaskData], trained_on: Iterable[str]) -> dict[str, bool]:
    """question_id -> whether no training question has the story of an in-domain item.

    trained_on: the training questions. Stories are compared with their numbers masked.
    """
    trained_on = list(trained_on)
    clean: dict[str, bool] = {}
    for task in tasks:
        if task.name == IN_DOMAIN and "question" in task.items:
            flags = template_clean(trained_on, task.items["question"])
            clean |= dict(zip(task.items["question_id"], flags, strict=True))
    return clean
