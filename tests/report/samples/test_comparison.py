"""Two logs of lm-eval, written by lm-eval's own tracker, against tests of scipy and statsmodels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from lm_eval.loggers import EvaluationTracker
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from compact_bench.__main__ import commands
from compact_bench.errors import UserError
from compact_bench.report.samples.comparison import compare_samples


def log(folder: Path, values: np.ndarray) -> Path:
    """lm-eval's own file of a run with these values of acc, by question."""
    tracker = EvaluationTracker(output_path=str(folder))
    tracker.general_config_tracker.model_name_sanitized = "model"
    tracker.date_id = "2026-01-01"
    samples = [
        {
            "doc_id": number,
            "doc": {"question": str(number)},
            "target": 1,
            "arguments": [("text", "more")],
            "resps": [["x"]],
            "filtered_resps": ["x"],
            "filter": "none",
            "metrics": ["acc"],
            "doc_hash": f"hash {number}",
            "acc": float(value),
        }
        for number, value in enumerate(values)
    ]
    tracker.save_results_samples("task", samples)
    (path,) = folder.rglob("samples_*.jsonl")
    return path


@pytest.fixture(scope="module")
def answers() -> np.ndarray:
    """(side, run, question) of 0 and 1."""
    return np.random.default_rng(0).random((2, 4, 80)) < [[[0.6]], [[0.45]]]


def test_one_run_each_is_a_paired_test(tmp_path: Path, answers: np.ndarray):
    first, second = (log(tmp_path / str(side), answers[side, 0]) for side in (0, 1))
    (line,) = compare_samples(first, second)
    one, other = answers[:, 0].astype(float)
    expected = stats.ttest_rel(one, other)
    assert line.found.p == pytest.approx(expected.pvalue)
    low, high = expected.confidence_interval()
    assert line.found.half_width == pytest.approx((high - low) / 2)
    table = [[((one == a) & (other == b)).sum() for b in (0, 1)] for a in (0, 1)]
    assert (line.lost, line.gained) == (table[0][1], table[1][0])
    assert line.p_flips == pytest.approx(mcnemar(table, exact=True).pvalue)


def test_several_runs_are_crossed_with_the_questions(tmp_path: Path, answers: np.ndarray):
    for side in (0, 1):
        for run in range(4):
            log(tmp_path / str(side) / str(run), answers[side, run])
    (line,) = compare_samples(tmp_path / "0", tmp_path / "1")
    apart = answers[0].astype(float) - answers[1]
    # Both ways of analysis of variance from the grand mean, by hand.
    runs, questions = (apart.mean(axis=axis) - apart.mean() for axis in (1, 0))
    rest = apart - apart.mean() - runs[:, None] - questions
    ms_runs, ms_questions = 80 * runs.var(ddof=1), 4 * questions.var(ddof=1)
    ms_rest = (rest**2).sum() / (3 * 79)
    variance = (ms_rest + max(ms_runs - ms_rest, 0) + max(ms_questions - ms_rest, 0)) / 320
    assert line.found.half_width == pytest.approx(stats.t.ppf(0.975, 3) * variance**0.5)
    assert line.found.mean == pytest.approx(apart.mean()) and line.p_flips is None
    said = CliRunner().invoke(commands, ["compare", "--samples", *map(str, [tmp_path / "0"] * 2)])
    assert said.exit_code == 0 and "4 runs each" in said.output
    with pytest.raises(UserError, match=r"has 4 runs and .* 1: as many"):
        compare_samples(tmp_path / "0", tmp_path / "1" / "2")


def test_other_questions_are_no_pair(tmp_path: Path, answers: np.ndarray):
    first = log(tmp_path / "first", answers[0, 0])
    with pytest.raises(UserError, match="1 are in one alone, doc_id 79"):
        compare_samples(first, log(tmp_path / "fewer", answers[1, 0, :-1]))
    other = log(tmp_path / "other", answers[1, 0])
    other.write_text(other.read_text().replace('hash 5"', 'hash 5b"'))
    with pytest.raises(UserError, match="doc_id 5 is not the same question"):
        compare_samples(first, other)


def test_json_holds_the_numbers(tmp_path: Path, answers: np.ndarray):
    files = [str(log(tmp_path / str(side), answers[side, 0])) for side in (0, 1)]
    said = CliRunner().invoke(commands, ["compare", "--samples", *files, "--json"])
    (line,) = json.loads(said.output)
    assert line["mean"] == pytest.approx(answers[0, 0].mean() - answers[1, 0].mean())
    missing = CliRunner().invoke(commands, ["compare", "--samples", files[0]])
    assert missing.exit_code == 2 and "A.jsonl B.jsonl" in missing.output
