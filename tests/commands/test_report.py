"""`report` makes again what `run` made, from records alone."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
GSM8K = str(ROOT / "suites" / "gsm8k.yaml")


def test_report_without_records_is_exit_code_2(refused, tmp_path):
    assert "no results in" in refused("report", GSM8K, "--results", tmp_path / "results")
