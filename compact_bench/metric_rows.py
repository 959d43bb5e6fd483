"""Values of a task as rows of the records: lm-eval's results, and means of our own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

# lm-eval's names of what our tables call accuracy, and of the two ways to take an answer.
METRICS = {"acc": "accuracy", "exact_match": "accuracy"}
FILTERS = {"strict-match": "strict", "flexible-extract": "flexible"}


def summary(metric: str, values: Sequence[float]) -> dict[str, Any]:
    """Mean, its standard error sd / sqrt(n) with the n - 1 sd (NaN for one value), and n.

    >>> summary("accuracy", [1.0, 0.0])
    {'metric': 'accuracy', 'value': 0.5, 'stderr': 0.5, 'n': 2}
    """
    n = len(values)
    mean = math.fsum(values) / n
    variance = math.fsum((v - mean) ** 2 for v in values) / (n - 1) if n > 1 else math.nan
    return {"metric": metric, "value": mean, "stderr": math.sqrt(variance / n), "n": n}


def metric_rows(result: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """lm-eval's results of one task ("exact_match,strict-match": 0.5, ...) as rows."""
    found = result["results"][name]
    names = {key.split(",")[0] for key in found if "," in key}
    version = result["versions"].get(name)
    rows = []
    for key, value in found.items():
        metric, _, kind = key.partition(",")
        if not kind or metric.endswith("_stderr"):
            continue
        stderr = found.get(f"{metric}_stderr,{kind}")
        taken = metric == "acc" and "exact_match" in names
        rows.append(
            {
                "task_version": int(version) if isinstance(version, int | float) else 0,
                "metric": metric if taken else METRICS.get(metric, metric),
                "filter": FILTERS.get(kind, kind),
                "value": float(value),
                "stderr": float(stderr) if isinstance(stderr, int | float) else math.nan,
                "n": int(found["sample_len"]),
            }
        )
    return rows
