"""What a suite records beside its cells comes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from compact_bench.errors import UserError
from compact_bench.records.cells import read_cells
from compact_bench.records.suite_record import (
    RATIONALE_KEY,
    read_bank,
    read_bank_teachers,
    read_items,
    read_suite_record,
)
from tests import synthetic
from tests.synthetic import Made


def test_plan_rationales_and_items_come_back(tmp_path: Path) -> None:
    root = synthetic.make(tmp_path, Made(seeds=(0,), labels=("base", "average"), items=5))
    assert [cell["label"] for cell in read_suite_record(root).cells] == ["base", "average"]
    assert read_bank_teachers(root) == list(synthetic.TEACHERS)
    bank = read_bank(root)
    assert not bank.duplicated(RATIONALE_KEY).any() and bank["right"].dtype == bool
    assert read_items(root)["in_domain", synthetic.question_id("in_domain/3")]


def test_no_results_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run the suite first"):
        read_suite_record(tmp_path)
    assert read_cells(tmp_path) == []
    (tmp_path / "suite.json").write_text('{"suite": {}}', encoding="utf-8")
    with pytest.raises(UserError, match=r"cannot read .*suite\.json"):
        read_suite_record(tmp_path)
