"""The `full` profile offline: tiny random models stand in for the student, on data made here."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from compact_bench.__main__ import main
from tests.conftest import draw_nothing, one_thread_a_cell
from tests.models import save_tiny

ROOT = Path(__file__).parents[2]


def command(kind: str, data_files, tmp_path: Path) -> list[str]:
    train, test = data_files
    settings = {
        "student.id": save_tiny(kind, tmp_path / kind),
        "data.source": train,
        "data.test_source": test,
        "data.answer": "number",
        "evaluation.max_new_tokens": 8,
        "evaluation.tasks": "[{task: in_domain, role: reasoning}]",
    }
    words = ["run", str(ROOT / "suites" / "gsm8k.yaml")]
    words += ["--jobs", "1", "--profile", "full", "--limit", "8", "--seeds", "0"]
    words += ["--results", str(tmp_path / "results")]
    for key, value in settings.items():
        words += ["--set", f"{key}={value}"]
    return words


@pytest.mark.parametrize(
    ("kind", "only"),
    [
        ("qwen2", ()),
        ("llama", ("average", "compact_authors")),
        ("gemma3", ("average", "compact_authors")),
    ],
)
def test_full_profile_trains_and_reports(kind, only, data_files, tmp_path, monkeypatch):
    words = command(kind, data_files, tmp_path)
    for name in only:
        words += ["--only", name]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("COMPACT_BENCH_MIRROR", "")
    one_thread_a_cell(monkeypatch)
    if only:  # the figures are those of the whole suite
        draw_nothing(monkeypatch)
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 0
    folder = tmp_path / "results" / "gsm8k" / "full"
    cells = {}
    for path in sorted((folder / "runs").iterdir()):
        spec = json.loads((path / "spec.json").read_text())
        cells[spec["label"]] = (path, json.loads((path / "status.json").read_text()))
    assert len(cells) == (len(only) or 12)
    for label, (path, status) in cells.items():
        if label in ("human_sft", "rehearsal"):  # no rationales by people, no old examples
            assert status["state"] == "skipped"
            continue
        assert status["state"] == "done", (label, status)
        if label != "base":
            steps = pd.read_parquet(path / "steps.parquet")
            # The authors' settings: one question a micro-batch, four a step, five epochs.
            assert steps["step"].max() == 5 * 2
            assert set(steps["question_id"].value_counts() % 5) == {0}
    lines = (folder / "tables" / "main.md").read_text().splitlines()
    assert sum(line.startswith("| average ") for line in lines) == 1
    assert (folder / "report.html").stat().st_size > 1000
