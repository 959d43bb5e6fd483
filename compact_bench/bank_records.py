"""The suite's texts beside its cells: rationales in bank.parquet, test items in items.parquet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from compact_bench.atomic import write_parquet
from compact_bench.records import read_table


def write_bank(root: Path, banks: Mapping[str, Any]) -> None:
    """Write bank.parquet: each condition's rationales with their question and gold answer.

    Where a suite has conditions (names other than ""), a column says which.
    """
    frames = []
    for condition, bank in banks.items():
        questions = bank.questions.rename(columns={"answer": "gold"})
        frame = bank.rationales.merge(questions, on="question_id", how="left", validate="m:1")
        frames.append(frame.assign(condition=condition) if condition else frame)
    write_parquet(Path(root) / "bank.parquet", pd.concat(frames, ignore_index=True))


def write_items(root: Path, tasks: Iterable[Any]) -> None:
    """Write items.parquet: the tasks' questions by hash, so that the page can show them."""
    frames = [
        task.items[["question_id", "question", "answer"]].assign(task=task.name)
        for task in tasks
        if task.items is not None and {"question", "answer"} <= set(task.items.columns)
    ]
    columns = ["task", "question_id", "question", "answer"]
    frame = pd.concat(frames)[columns] if frames else pd.DataFrame(columns=columns, dtype=str)
    write_parquet(Path(root) / "items.parquet", frame.astype({"answer": str}))


def read_bank_teachers(root: Path) -> list[str]:
    """The teachers of bank.parquet, in their order; none where it isn't there."""
    path = Path(root) / "bank.parquet"
    if not path.exists():
        return []
    frame = read_table(path, ["teacher", "role"])
    return list(frame[frame["role"] == "teacher"]["teacher"].drop_duplicates())


def read_items(root: Path) -> dict[tuple[str, str], str]:
    """(task, question_id) -> question; empty where the questions are not published."""
    path = Path(root) / "items.parquet"
    frame = read_table(path) if path.exists() else pd.DataFrame()
    if "question" not in frame:
        return {}
    return dict(
        zip(zip(frame["task"], frame["question_id"], strict=True), frame["question"], strict=True)
    )
