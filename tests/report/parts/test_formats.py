"""A table in three formats: one line a row, whatever stands in it, and unrounded numbers."""

from __future__ import annotations

import csv as csv_module
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from compact_bench.analysis.results import Results, read
from compact_bench.report.page import build_tables
from compact_bench.report.parts import formats
from compact_bench.report.parts.captions import Caption
from tests import synthetic
from tests.from_files import by_seed, csv_frame
from tests.synthetic import Made

STATES = {
    ("human_sft", 0): ("skipped", "no human | rationales"),
    ("human_sft", 1): ("skipped", "no human | rationales"),
    ("human_sft", 2): ("skipped", "no human | rationales"),
    ("answer_sft", 1): ("diverged", "loss is nan\nat step 3"),
    ("random_teacher", 2): ("missing", ""),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.make(tmp_path_factory.mktemp("results"), Made(states=STATES, steps=6))


@pytest.fixture(scope="module")
def results(root: Path) -> Results:
    return read(root)


def test_markdown_has_one_line_a_row_and_equal_columns(results: Results) -> None:
    for table in build_tables(results):
        lines = [line for line in formats.markdown(table).splitlines() if line.startswith("|")]
        assert len(lines) == len(table.rows) + 2
        counts = {line.replace("\\|", "").count("|") for line in lines}
        assert counts == {len(table.columns) + 1}
        assert len({len(line) for line in lines}) == 1


def test_latex_is_escaped_and_balanced(results: Results) -> None:
    for table in build_tables(results):
        source = formats.latex(table)
        assert "\\toprule" in source
        bare = source.replace("\\{", "").replace("\\}", "")
        assert bare.count("{") == bare.count("}")
        body = source.split("\\midrule")[1].split("\\bottomrule")[0].strip().splitlines()
        assert len(body) == len(table.rows)
        for line in body:
            assert line.replace("\\&", "").count("&") == len(table.columns) - 1
    assert formats.escape_latex("a_b & 5% $x$ {y} #1 ~^\\") == (
        r"a\_b \& 5\% \$x\$ \{y\} \#1 \textasciitilde{}\textasciicircum{}\textbackslash{}"
    )


def test_csv_holds_unrounded_numbers(root: Path, results: Results) -> None:
    made = {table.name: table for table in build_tables(results)}
    frame = csv_frame(made["metrics"])
    row = frame[(frame["label"] == "compact") & (frame["seed"] == 1)
                & (frame["task"] == "mini_facts") & (frame["metric"] == "accuracy")
                & (frame["filter"] == "strict")]  # fmt: skip
    assert row["value"].iloc[0] == by_seed(root, "compact", "mini_facts")[1]
    differences = csv_frame(made["differences"])
    assert set(differences["reference"]) == {"average"}
    assert (differences["test"] == "crossed").all()


def test_a_table_is_its_columns_and_each_format_has_its_file(tmp_path: Path) -> None:
    columns = {"method": ["a|b", "c"], "value": [formats.Entry("0.5", best=True), "–"]}
    frame = pd.DataFrame({"label": ["a|b", "c"], "value": [1 / 3, np.nan]})
    table = formats.table("t", "T", Caption("own", "setting"), columns, frame)
    assert [[entry.text for entry in row] for row in table.rows] == [["a|b", "0.5"], ["c", "–"]]
    paths = formats.write([table], tmp_path)
    assert sorted(path.name for path in paths) == ["t.csv", "t.md", "t.tex"]
    assert "| a\\|b" in (tmp_path / "t.md").read_text("utf-8")
    assert "**0.5**" in (tmp_path / "t.md").read_text("utf-8")
    assert r"a\textbar{}b & \textbf{0.5}" in (tmp_path / "t.tex").read_text("utf-8")
    assert pd.read_csv(tmp_path / "t.csv")["value"][0] == 1 / 3
    with pytest.raises(ValueError, match="longer"):
        formats.table("t", "T", Caption("own", "setting"), {"a": ["1"], "b": ["1", "2"]}, frame)


def test_columns_without_any_value_are_left_out() -> None:
    assert formats.known({"a": ["1", "–"], "b": ["–", "–"]}) == {"a": ["1", "–"]}


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t"])
def test_text_in_csv_is_no_formula(start: str) -> None:
    name = f"{start}HYPERLINK(1)"
    frame = pd.DataFrame({name: [name, "a\rb"], "value": [-1.5, 2.0], "n": [None, 3]})
    frame["n"] = frame["n"].astype("Int64")
    made = formats.table("t", "T", Caption("c", "s"), {"a": ["x", "y"]}, frame)
    rows = list(csv_module.reader(io.StringIO(formats.csv(made), newline="")))
    assert rows == [[f"'{name}", "value", "n"], [f"'{name}", "-1.5", ""], ["a b", "2.0", "3"]]
