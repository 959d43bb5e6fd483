"""Costs are those of the cells' states, and the chosen learning rate is the dev split's best."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from compact_bench.analysis.results import Results, read
from compact_bench.records.cells import CellWriter, read_cells
from compact_bench.records.suite_record import read_suite_record, write_suite_record
from compact_bench.report.tables import cost
from tests import synthetic
from tests.synthetic import Made

TOKENS = {0: 1000, 1: 2000, 2: 6000}  # of the seeds of `average`
RATES = [0.001, 0.002, 0.004]


def write_status(root: Path, **more: int) -> None:
    """Give `average` tokens that differ by seed, and FLOPs of twice as many."""
    for cell in read_cells(root):
        if cell.spec["label"] == "average":
            tokens = TOKENS[cell.spec["seed"]]
            CellWriter(cell.folder).status("done", tokens=tokens, flops=2 * tokens, **more)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = synthetic.make(tmp_path, Made(items=4, steps=1, labels=("base", "average", "compact")))
    write_status(root)
    return root


def shown(table: cost.Table, label: str) -> dict[str, str]:
    """A row of the table by column."""
    row = next(row for row in table.rows if row[0].text == label)
    return dict(zip(table.columns, (entry.text for entry in row), strict=True))


def test_a_cells_cost_is_the_mean_over_seeds(root: Path) -> None:
    table = cost.cost(read(root))
    numbers = table.numbers.set_index("label").loc["average"]
    assert (numbers["tokens.mean"], numbers["tokens.sd"]) == pytest.approx(
        (3000, np.std([*TOKENS.values()], ddof=1))
    )
    row = shown(table, "average")
    assert (row["student tokens"], row["FLOPs"]) == ("3k", "6k")
    assert (row["teacher tokens"], row["layout"]) == ("–", "–")  # its states don't hold them
    assert shown(table, "compact")["layout"] == "shared"


def test_what_nobody_counted_has_no_column(root: Path) -> None:
    assert "of them to select" not in cost.cost(read(root)).columns
    write_status(root, selection_tokens=500)
    table = cost.cost(read(root))
    assert shown(table, "average")["of them to select"] == "500"
    assert "trained to choose rationales" in table.caption.own
    write_status(root, sampled_tokens=0)
    assert "tokens it wrote" not in cost.cost(read(root)).columns
    write_status(root, sampled_tokens=70)
    table = cost.cost(read(root))
    assert shown(table, "average")["tokens it wrote"] == "70"
    assert "rationales of its own" in table.caption.own


def test_training_that_begins_anew_says_how_often(root: Path) -> None:
    assert "stages × steps" not in cost.cost(read(root)).columns
    write_status(root, stages=1, steps=150)
    assert "stages × steps" not in cost.cost(read(root)).columns
    write_status(root, stages=20, steps=150)
    table = cost.cost(read(root))
    assert shown(table, "average")["stages × steps"] == "20 × 7.5"
    assert "training begins anew" in table.caption.own


def with_rates(root: Path, values: dict[float, float]) -> Results:
    """Results in which `average` was trained with these rates: NLL on dev; NaN: diverged."""
    tries = []
    for number, (rate, nll) in enumerate(values.items()):
        tries.append({"run_id": f"try{number}", "label": "average", "learning_rate": rate})
        writer = CellWriter(root / "runs" / f"try{number}")
        writer.spec({"label": "average", "seed": 7})
        row = {"task": "in_domain", "split": "dev", "metric": "marginal_nll", "filter": "none",
               "role": "reasoning", "stage": "after", "n": 2}  # fmt: skip
        writer.eval([row | {"value": nll, "stderr": 0.1}])
        state = "diverged" if math.isnan(nll) else "done"
        writer.status(state, tokens=10, flops=5000, train_seconds=1.0)
    plan = read_suite_record(root)
    spec = {"learning_rates": RATES, "seeds": [7], "metric": "marginal_nll"}
    write_suite_record(root, plan.suite | {"selection": spec}, plan.cells, tries=tries)
    return read(root)


def test_the_best_rate_is_bold_and_the_price_of_choosing_beside_it(root: Path) -> None:
    table = cost.selection(with_rates(root, {0.001: 2.0, 0.002: 1.5, 0.004: math.nan}))
    assert table is not None
    assert [row[0].text for row in table.rows] == ["average"]
    assert [name for name, e in zip(table.columns, table.rows[0], strict=True) if e.best] == [
        "0.002"
    ]
    row = shown(table, "average")
    assert (row["0.001"], row["0.002"], row["0.004"]) == (
        "2.000 ± 0.100", "1.500 ± 0.100", "diverged"
    )  # fmt: skip
    assert row["tokens of choosing"] == "30"
    assert row["× a cell's"] == "2.5"  # 15,000 FLOPs; a cell takes 6,000
    numbers = table.numbers.set_index("learning_rate")
    assert numbers["chosen"].to_dict() == {0.001: False, 0.002: True, 0.004: False}
    assert "In 0 of 1 rows another learning rate is within one standard error" in table.caption.own
    assert "0 rows chose the highest" in table.caption.own


def test_choices_within_noise_and_at_the_end_of_the_range_are_counted(root: Path) -> None:
    table = cost.selection(with_rates(root, {0.001: 2.0, 0.002: 1.55, 0.004: 1.5}))
    assert table is not None
    assert "In 1 of 1 rows another" in table.caption.own
    assert "1 rows chose the highest" in table.caption.own


def test_where_no_rate_was_chosen_there_is_no_table(root: Path) -> None:
    assert cost.selection(read(root)) is None
