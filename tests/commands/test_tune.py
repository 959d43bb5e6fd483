"""The command `tune` as its user runs it: a real student, real trials, and bad input."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from compact_bench.records.cells import read_cells
from compact_bench.tune import trials

ROOT = Path(__file__).parent.parent.parent
SUITE = ROOT / "suites" / "gsm8k.yaml"


def test_a_real_student_is_tuned_tested_and_reported(tmp_path):
    command = [sys.executable, "-m", "compact_bench", "tune", str(SUITE)]
    command += ["--methods", "average,compact", "--trials", "2", "--limit", "4", "--seeds", "0",
                "--set", "tune.items=4", "--set", "evaluation.marginal_samples=2",
                "--results", str(tmp_path)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert "What tuning bought" in done.stdout
    folder = tmp_path / "gsm8k" / "mini" / "tune"
    studies = trials.read(folder).studies
    assert [(study.label, len(study.finished)) for study in studies] == [
        ("average", 2),
        ("compact", 2),
    ]
    own = {"beta_adaptability": 1.0, "beta_consensus": 1.0, "beta_difficulty": 0.5}
    assert {k: studies[1].default.settings[k] for k in own} == pytest.approx(own)
    for trial in studies[1].complete:
        assert sum(trial.settings[name] for name in own) == pytest.approx(2.5)
    cells = {cell.spec["label"]: cell for cell in read_cells(folder / "gsm8k_tuned" / "mini")}
    assert set(cells) == {"base", "average", "average, tuned", "compact", "compact, tuned"}
    assert all(cell.state == "done" for cell in cells.values())
    frame = pd.read_csv(folder / "tables" / "tuned.csv").set_index("label")
    nll = {label: cells[label].eval().query("metric == 'marginal_nll'")["value"].item()
           for label in cells if label != "base"}  # fmt: skip
    gained = nll["compact, tuned"] - nll["compact"]
    assert frame.loc["compact, tuned", "in_domain.marginal_nll.delta.mean"] == pytest.approx(gained)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "compct"], "did you mean 'compact'?"),
        (["--method", "base"], "base trains nothing"),
        (["--method", "compact", "--trials", "0"], "'--trials': 0 is not in the range"),
        (["--method", "compact", "--sampler", "cma"], "tune.sampler"),
        (["--method", "compact", "--study", "a/b"], "--study a/b: letters"),
        (["--ablation"], "the suite has none"),
        ([], "say what to tune"),
    ],
)
def test_bad_input_is_one_line(refused, tmp_path, arguments, message):
    assert message in refused("tune", SUITE, *arguments, "--results", tmp_path / "results")
    assert not (tmp_path / "results").exists()
