"""Hidden states and changes of the weights as training leaves them, made up from fixed seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compact_bench.records.cells import CellWriter, read_cells
from tests.synthetic_scores import question_id

LAYERS = (0, 2, 4, 6, 8)
WIDTH, SKETCH = 128, 4096


def latent(
    label: str, seed: int | None, tasks: Sequence[str], probes: int = 16
) -> Iterator[dict[str, Any]]:
    """latent.parquet of one cell: the base's states, moved further the later the layer."""
    trained = label != "base"
    base = np.random.default_rng(3)
    mine = np.random.default_rng([17, sum(map(ord, label)), 99 if seed is None else seed])
    ways = np.random.default_rng(5).normal(0, 1, (WIDTH, WIDTH))  # shared by all that learn
    keys = [(task, question_id(f"{task}/{i}")) for task in tasks for i in range(probes)]
    place = {task: base.normal(0, 3, WIDTH) for task in tasks}
    mix = base.normal(0, 1, (8, WIDTH))
    for depth, layer in enumerate(LAYERS):
        noise = base.normal(0, 1, (len(keys), WIDTH))
        centre = np.stack([place[task] for task, _ in keys])
        states = centre + 2 * base.normal(0, 1, (len(keys), 8)) @ mix + noise
        moved = {"student": states}
        if trained:
            own = ways + mine.normal(0, 1, ways.shape)
            moved["student"] = states + 0.02 * depth * states @ own
            moved["random"] = states + 0.02 * depth * states @ mine.normal(0, 1, ways.shape)
        for kind, values in moved.items():
            for (task, question), row in zip(keys, values.astype(np.float32), strict=True):
                yield {"kind": kind, "layer": layer, "task": task, "question_id": question,
                       "values": row}  # fmt: skip
    if trained:
        yield {"kind": "change", "layer": -1, "task": "", "question_id": "",
               "values": sketch(label, seed)}  # fmt: skip


def sketch(label: str, seed: int | None) -> np.ndarray:
    """A change with a part of the order of the data (the seed's) and one of the row. (4096,)."""
    order = np.random.default_rng([1, 99 if seed is None else seed]).normal(0, 1, SKETCH)
    row = np.random.default_rng([2, sum(map(ord, label))]).normal(0, 1, SKETCH)
    own = np.random.default_rng([3, sum(map(ord, label)), seed or 0]).normal(0, 1, SKETCH)
    return (0.5 * order + 0.7 * row + 0.5 * own).astype(np.float32)


def equal_embeddings(root: Path) -> None:
    """Give every prompt the same state at the embeddings, as the same last token would."""
    for cell in read_cells(root):
        frame = cell.frame("latent")
        first = np.ones(WIDTH, dtype=np.float32)
        frame["values"] = [
            first if layer == 0 else values
            for layer, values in zip(frame["layer"], frame["values"], strict=True)
        ]
        CellWriter(cell.folder).table("latent", frame)
