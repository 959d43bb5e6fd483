"""Results -> tables: the main one, all differences, all metrics, and what each row cost."""

from __future__ import annotations

from typing import Any

import pandas as pd

from compact_bench.analysis.results import Results
from compact_bench.report.parts import captions, formats
from compact_bench.report.parts.formats import Entry, Table
from compact_bench.report.parts.numbers import (
    NONE,
    compact,
)

COSTS = {
    "tokens": "student tokens",
    "selection_tokens": "of them to select",
    "physical_tokens": "with padding",
    "supervised_tokens": "target tokens",
    "teacher_tokens": "teacher tokens",
    "flops": "FLOPs",
    "train_seconds": "seconds of training",
    "eval_seconds": "of evaluation",
    "cell_peak_memory_mb": "peak memory, MB",
}


def cost(results: Results) -> Table:
    """What a cell of each row cost, mean over seeds; as CSV with the standard deviation."""
    shown = [n for n in COSTS if any(row.cost(n).n for row in results.rows)]
    columns: dict[str, list[Entry]] = {"method": [Entry(row.label) for row in results.rows]}
    for name in shown:
        columns[COSTS[name]] = [Entry(compact(row.cost(name).mean)) for row in results.rows]
    layouts = [
        sorted({str(c.status.get("layout") or NONE) for c in row.done.values()})
        for row in results.rows
    ]
    columns["layout"] = [Entry(", ".join(names) or NONE) for names in layouts]
    lines = []
    for row in results.rows:
        line: dict[str, Any] = {**results.key(row)}
        for name in shown:
            line |= {f"{name}.mean": row.cost(name).mean, f"{name}.sd": row.cost(name).sd}
        lines.append(line)
    text = captions.caption(
        results,
        "What one cell costs, mean over seeds. Student tokens are real tokens, the prompt counted "
        "for every row that is read; FLOPs are 2 N a token forward plus the backward pass",
        "Of them to select: what a method read, wrote or trained to choose rationales or teachers"
        if "selection_tokens" in shown
        else "",
        "What choosing the learning rates cost is in the table selection" if results.tries else "",
    )
    return formats.table("cost", "Cost", text, columns, pd.DataFrame(lines))
