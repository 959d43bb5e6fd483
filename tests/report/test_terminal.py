"""The answer in a terminal fits its width, cuts no number and has the rows that were asked for."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from compact_bench.analysis.results import Results, read
from compact_bench.commands.report import report
from compact_bench.report import terminal
from tests import synthetic
from tests.synthetic import AFTER, Made

SUITE = Path(__file__).parents[2] / "suites" / "gsm8k.yaml"
LONG = "a_method_with_quite_a_long_name(temperature=0.5, teacher=sentences)"
NUMBER = re.compile(r"[+−]?\d+\.\d ± \d+\.\d\*?")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    states = {("answer_sft", 1): ("failed", "out of memory"), ("human_sft", 0): ("missing", "")}
    return synthetic.make(
        tmp_path_factory.mktemp("results") / "gsm8k/mini", Made(items=12, steps=2, states=states)
    )


@pytest.fixture(scope="module")
def results(root: Path) -> Results:
    return read(root)


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_every_line_fits_and_every_number_is_whole(results: Results, width: int) -> None:
    text = terminal.summary(results, width=width)
    assert max(map(len, text.splitlines())) <= width
    wide = terminal.summary(results, width=500)
    # In a narrow terminal the last columns are missing, what is there is as in a wide one.
    numbers, shown = NUMBER.findall(wide), NUMBER.findall(text)
    assert len(shown) == len(numbers) if width >= 60 else set(shown) < set(numbers)
    assert set(shown) <= set(numbers)


def test_numbers_are_those_of_the_rows(results: Results) -> None:
    compact = results.named("compact")
    assert compact is not None
    measure = results.headlines("reasoning")[0]
    mean = 100 * sum(compact.values[measure].values()) / 3
    line = next(
        line for line in terminal.summary(results, width=80).splitlines() if "compact " in line
    )
    assert line.split()[1] == f"{mean:.1f}"
    assert "Δ to average" in terminal.summary(results, width=80)


def test_long_labels_are_wrapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(AFTER, LONG, AFTER["compact"])  # type: ignore[arg-type]
    made = Made(items=12, steps=2, labels=("base", "average", LONG))
    text = terminal.summary(read(synthetic.make(tmp_path, made)), width=60)
    assert max(map(len, text.splitlines())) <= 60
    label = "".join(line[:13].strip() for line in text.splitlines()[7:])
    assert label.startswith(LONG.replace(" ", "")[:40])


def test_only_the_rows_that_are_asked_for(results: Results) -> None:
    text = terminal.summary(results, ("compact", "single_teacher"), 80)
    labels = {line.split()[0] for line in text.splitlines() if NUMBER.search(line)}
    assert labels == {"compact", *(label for label in AFTER if label.startswith("single_teacher"))}
    assert "not run yet" not in text and "out of memory" not in text


def test_what_is_not_done_is_said_below(results: Results) -> None:
    lines = terminal.summary(results, width=80).splitlines()
    assert "answer_sft: failed (seed 1): out of memory" in lines
    assert "human_sft: not run yet (seed 0)" in lines


def check_printed(text: str, root: Path, width: int) -> None:
    """Plain text of this width at most, and where the page is."""
    *table, last = text.splitlines()
    assert last == f"report: {root / 'report.html'}"
    assert "\x1b" not in text
    assert max(map(len, table)) <= width
    assert any(line.startswith("compact ") for line in table)


def test_report_in_a_pipe(root: Path) -> None:
    """80 columns where nothing says how wide it is."""
    environment = {k: v for k, v in os.environ.items() if k != "COLUMNS"}
    words = [sys.executable, "-m", "compact_bench", "report", str(SUITE)]
    done = subprocess.run(
        [*words, "--results", str(root.parents[1])],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    check_printed(done.stdout, root, 80)


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("columns", [60, 80, 200])
def test_the_environment_says_how_wide_a_report_is(
    root: Path, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    done = CliRunner().invoke(report, [str(SUITE), "--results", str(root.parents[1])])
    check_printed(done.output, root, columns)


def test_that_no_row_states_an_answer_is_said(tmp_path: Path) -> None:
    """Of the task where nobody does; of one where a single row does, nothing."""
    root = synthetic.make(tmp_path, Made(labels=("base", "average"), items=6, steps=2))
    assert "no row states an answer" not in terminal.summary(read(root), width=500)
    for number, path in enumerate(sorted(root.glob("runs/*/eval.parquet"))):
        table = pd.read_parquet(path)
        silent = table["metric"].eq("no_answer")
        table.loc[silent & (table["task"].eq("in_domain") | (number > 0)), "value"] = 1.0
        table.to_parquet(path)
    lines = terminal.summary(read(root), width=500).splitlines()
    (line,) = [line for line in lines if line.startswith("no row states an answer")]
    assert line.startswith("no row states an answer on in domain: ") and "student.chat=true" in line
