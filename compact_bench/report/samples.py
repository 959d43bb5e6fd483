"""The first outputs that were right and wrong, of each row, for the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compact_bench.outcomes import Results, Row

EACH = 3
LONGEST = 1200


def sample_groups(
    results: Results, questions: Mapping[tuple[str, str], str]
) -> list[dict[str, Any]]:
    """For each row, of its first seed: EACH right and EACH wrong outputs of the first task."""
    task = next((measure.task for measure in results.headlines("reasoning")), None)
    groups = []
    for row in results.rows:
        seed = next(iter(row.done), None)
        if row.done:
            shown = _shown(row, seed, task, questions)
            groups += [{"label": row.label, "seed": seed, "samples": shown}] if shown else []
    return groups


def _shown(
    row: Row, seed: int | None, task: str | None, questions: Mapping[tuple[str, str], str]
) -> list[dict[str, Any]]:
    samples = [s for s in row.done[seed].samples() if task is None or s.get("task") == task]
    trained = [sample for sample in samples if sample.get("stage") != "before"]
    samples = sorted(trained or samples, key=lambda sample: str(sample.get("question_id")))
    right = [sample for sample in samples if sample.get("right")][:EACH]
    wrong = [sample for sample in samples if not sample.get("right")][:EACH]
    return [
        {
            "right": bool(sample.get("right")),
            "question_id": sample.get("question_id"),
            "question": questions.get((str(sample.get("task")), str(sample.get("question_id")))),
            "output": _cut(str(sample.get("output", ""))),
            "extracted": sample.get("extracted"),
            "answer": sample.get("answer"),
        }
        for sample in [*right, *wrong]
    ]


def _cut(text: str) -> str:
    over = len(text) - LONGEST
    return text if over <= 0 else f"{text[:LONGEST]} … ({over} more characters)"
