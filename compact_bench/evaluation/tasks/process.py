"""What the task files name: reading items, taking answers from texts, scoring one item."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compact_bench.data.answers import extract_answer, extract_flexible, same_answer


def read_items(path: str, **_: Any) -> dict[str, Any]:
    """The items of a JSONL file as lm-eval's data set; held in memory, never cached on disk.

    lm-eval passes the task's metadata beside dataset_kwargs, hence the ignored keywords.
    """
    import json

    from datasets import Dataset

    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return {"test": Dataset.from_list([json.loads(line) for line in lines])}


def strict(resps: Sequence[Sequence[str]], docs: Sequence[dict[str, Any]]) -> list[list[Any]]:
    """The stated answers ("The answer is X") of every item's texts; None where there is none."""
    return [
        [extract_answer(text, doc["answer_kind"]) for text in texts]
        for texts, doc in zip(resps, docs, strict=True)
    ]


def flexible(resps: Sequence[Sequence[str]], docs: Sequence[dict[str, Any]]) -> list[list[Any]]:
    """The last number, yes/no or choice letter of every item's texts, wherever it stands."""
    return [
        [extract_flexible(text, doc["answer_kind"]) for text in texts]
        for texts, doc in zip(resps, docs, strict=True)
    ]


def score_answer(doc: dict[str, Any], results: Sequence[str | None]) -> dict[str, float]:
    """Accuracy and missing answer (0 or 1) of one extracted answer."""
    right = same_answer(results[0], doc["answer"], doc["answer_kind"])
    return {"accuracy": float(right), "no_answer": float(results[0] is None)}
