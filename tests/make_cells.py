"""Records of many cells, to time `report` and `compare`: python -m tests.make_cells N FOLDER.

Rows of 40 seeds each (fewer where N isn't a multiple), every cell with the files of a real one:
300 test items, 1,200 rows of steps with scores, and, unless --plain is given, hidden states.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from compact_bench.records.cells import CellWriter
from compact_bench.records.suite_record import write_bank, write_items, write_suite_record
from tests import synthetic, synthetic_scores
from tests.synthetic import Made, question_id

SEEDS, ITEMS, QUESTIONS, EPOCHS = 40, 75, 100, 3


def labels(rows: int) -> list[str]:
    """As many labels as rows, the methods of `synthetic` over and over with a number."""
    known = [label for label in synthetic.AFTER if label != "base"]
    return [
        known[i % len(known)] + (f" #{i // len(known)}" if i >= len(known) else "")
        for i in range(rows)
    ]


def steps(bank: pd.DataFrame, label: str, seed: int) -> pd.DataFrame:
    """Step records of a cell, every rationale read EPOCHS times, four questions a step."""
    draw = np.random.default_rng([seed, sum(map(ord, label))])
    frame = pd.concat([bank[["question_id", "teacher", "sample"]]] * EPOCHS, ignore_index=True)
    count, step = len(frame), np.arange(len(frame)) // 16
    moves = bool(synthetic.after(label)[4])
    size = int(bank["question_id"].value_counts().iloc[0])  # rationales of a question
    scores = np.exp(draw.normal(0, float(moves), (count // size, size)))
    frame = frame.assign(
        step=step + 1, epoch=np.arange(count) // (count // EPOCHS), loss=2.0 - step / step.max(),
        lr=1e-3, seconds=0.05 * step, tokens=225 * step, physical_tokens=240 * step,
        supervised_tokens=109 * step, teacher_tokens=109 * step, flops=1.9e9 * step,
        rationale_tokens=draw.integers(20, 60, count), nll=draw.gamma(4, 0.5, count),
        weight=(scores / scores.sum(axis=1, keepdims=True)).ravel(),
    )  # fmt: skip
    names = ("score_consensus", "score_adaptability") if moves else ()
    return frame.assign(**{name: draw.normal(0, 1, count) for name in names})


def write_cell(folder: Path, cell: dict[str, Any], made: Made, bank: pd.DataFrame) -> None:
    """Write one cell's records: as `synthetic` does, with more steps and hidden states."""
    label, seed = cell["label"], cell["seed"]
    synthetic.write_cell(folder, label, seed, made)
    if seed is not None:
        own = "[" in label
        read = bank[bank["teacher"] == label.split("[")[1].split("]")[0]] if own else bank
        CellWriter(folder).table("steps", steps(read, label, seed))


def make(root: Path, count: int, latent: bool = True) -> Path:
    """Write records of `count` trained cells and an untrained one under `root`."""
    seeds = tuple(range(min(SEEDS, count)))
    names = ("base", *labels(-(-count // len(seeds))))
    made = Made(seeds=seeds, items=ITEMS, steps=1, labels=names, latent=latent, evidence=True)
    keys = [(label, seed) for label in names[1:] for seed in seeds][:count]
    cells = [
        {
            "run_id": question_id(f"{label}/{seed}")[:12], "label": label, "seed": seed,
            "method": label.split(" #")[0].split("[")[0], "uses_gold": False,
        }
        for label, seed in [("base", None), *keys]
    ]  # fmt: skip
    bank = synthetic_scores.bank(synthetic.TEACHERS, questions=QUESTIONS)
    for cell in cells:
        write_cell(root / "runs" / cell["run_id"], cell, made, bank.rationales)
    write_suite_record(root, synthetic.suite(made), cells)
    write_bank(root, {"": bank})
    items = pd.DataFrame({"question": [f"Question {i}?" for i in range(ITEMS)], "answer": "7"})
    items["question_id"] = [question_id(f"in_domain/{i}") for i in range(ITEMS)]
    write_items(root, [SimpleNamespace(name="in_domain", items=items)])
    return root


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, metavar="N")
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--plain", action="store_true", help="no hidden states")
    options = parser.parse_args()
    make(options.folder, options.count, latent=not options.plain)


if __name__ == "__main__":
    main()
