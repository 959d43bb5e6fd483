"""The optional records: curves, and what is measured beside accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

PLACES = (0.33, 0.67)
CURVE_ITEMS = 40
EXAMPLES = 8
CHANCE = 0.25  # of the facts, which are a choice among four


def _row(kind: str, at: float, task: str, value: float) -> dict[str, Any]:
    role = "reasoning" if task == "in_domain" else "forgetting"
    return {
        "kind": kind,
        "at": at,
        "task": task,
        "role": role,
        "metric": "accuracy",
        "filter": "strict" if task == "in_domain" else "none",
        "value": round(float(np.clip(value, 0, 1)) * CURVE_ITEMS) / CURVE_ITEMS,
        "n": CURVE_ITEMS,
        "chance": chance(task),
    }


def chance(task: str) -> float:
    """What guessing gives."""
    return CHANCE if task == "mini_facts" else 0.0


def curve(
    before: Mapping[str, float], after: Sequence[float], seed: int | None
) -> list[dict[str, Any]]:
    """curve.parquet rows: old skill goes early in training, and late over the scale."""
    draw = np.random.default_rng([17, 99 if seed is None else seed, int(1000 * sum(after))])
    ends = dict(zip(before, after, strict=True))
    if seed is None:
        rows = [_row("checkpoint", 0.0, task, value) for task, value in before.items()]
        return rows + [
            _row("relearned", EXAMPLES, task, value + 0.02)
            for task, value in before.items()
            if task != "in_domain"
        ]
    shape = {"checkpoint": 0.6, "scale": 1.8}
    rows = []
    for kind, places in (("checkpoint", (*PLACES, 1.0)), ("scale", PLACES)):
        for at in places:
            for task, old in before.items():
                power = 1.0 if task == "in_domain" else shape[kind]
                value = old + (ends[task] - old) * at**power + draw.normal(0, 0.01)
                rows.append(_row(kind, at, task, value))
    for task, old in before.items():
        if task != "in_domain":
            value = ends[task] + 0.5 * (old - ends[task]) + draw.normal(0, 0.01)
            rows.append(_row("relearned", EXAMPLES, task, value))
    return rows


def values(rows: Sequence[Mapping[str, Any]], before: Mapping[str, float]) -> list[dict[str, Any]]:
    """eval.parquet rows with a task's chance, and with majority, KL and text NLL beside them."""
    found: list[dict[str, Any]] = [{**row, "chance": chance(row["task"])} for row in rows]
    for row in [r for r in found if r["metric"] == "accuracy" and r["filter"] == "strict"]:
        task, stage = row["task"], row["stage"]
        lost = 0.0 if stage == "before" else before[task] - row["value"]
        if task != "in_domain":
            found.append({**row, "metric": "text_nll", "filter": "none", "value": 1.5 + 2 * lost})
            continue
        found.append({**row, "metric": "majority", "value": row["value"] + 0.04})
        if stage == "after":
            kl = 0.02 + abs(lost)
            found.append({**row, "metric": "kl_from_base", "filter": "none", "value": kl})
    return found
