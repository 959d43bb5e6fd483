"""A paper's parts compile, fit the page, and quote the numbers of the records."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compact_bench.report.paper import tables
from compact_bench.report.paper.document import Source, write_paper
from compact_bench.report.paper.numbers import number_name
from compact_bench.report.parts.formats import Entry
from tests import synthetic
from tests.from_files import by_seed
from tests.synthetic import Made

LABELS = ("base", "average", "compact", "single_teacher[reordered]")
TITLE = "50% of a_b & \\input{/etc/passwd} #1 ~ {x} $y$"
SOURCES = {
    "compact": Source("arXiv:2601.13992", "@misc{cui2026,\n  title={One},\n  year={2026}\n}")
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The records, and beside them the paper."""
    root = tmp_path_factory.mktemp("records")
    synthetic.make(root, Made(labels=LABELS, items=20, steps=4, suite={"title": TITLE}))
    write_paper(root, root / "paper", SOURCES)
    return root


def compiled(folder: Path, *more: str) -> tuple[int, str]:
    """Exit code and log of pdflatex."""
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex on this machine")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", *(more or ["paper"])]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    return done.returncode, done.stdout


def test_the_document_compiles_and_nothing_sticks_out(folder: Path) -> None:
    paper = folder / "paper"
    assert compiled(paper)[0] == 0
    subprocess.run(["bibtex", "paper"], cwd=paper, check=True, capture_output=True)
    compiled(paper)
    code, log = compiled(paper)
    assert code == 0
    assert "Overfull \\hbox" not in log and "undefined" not in log and "multiply" not in log


def test_the_text_quotes_numbers_by_name_and_a_wrong_name_stops_it(folder: Path) -> None:
    def document(name: str) -> str:
        text = rf"\documentclass{{article}}\input{{numbers}}\begin{{document}}\result{{{name}}}"
        return text + r"\end{document}"

    for name, works in (("compact/in_domain/difference", True), ("compact/nothing", False)):
        (folder / "paper" / "quote.tex").write_text(document(name))
        assert (compiled(folder / "paper", "quote")[0] == 0) == works


def test_numbers_are_those_of_the_records(folder: Path) -> None:
    text = (folder / "paper" / "numbers.tex").read_text("utf-8")
    values = dict(re.findall(r"\\@namedef\{result@([^}]+)\}\{(.*?)\}% ", text))
    assert len(values) == text.count("@namedef")  # each is named once
    for label in ("average", "compact", "single_teacher[reordered]"):
        mean = by_seed(folder, label, "in_domain").mean()
        assert values[f"{number_name(label)}/in_domain/mean"] == f"{100 * mean:.1f}"
    seeds = by_seed(folder, "compact", "in_domain") - by_seed(folder, "average", "in_domain")
    difference = values["compact/in_domain/difference"].split(r" $\pm$")[0]
    assert difference.replace("$-$", "-") == f"{100 * seeds.mean():+.1f}"
    assert values["seeds"] == "3" and values["items/in_domain"] == "20"


def test_references_are_of_the_rows_that_there_are(folder: Path) -> None:
    paper = folder / "paper"
    assert (paper / "refs.bib").read_text("utf-8").count("@") == 1
    assert r"\cite{cui2026}" in (paper / "paper.tex").read_text("utf-8")


def lines(entry: Entry) -> list[str]:
    return tables.entry_lines(entry.text)


texts = st.text("abc [],%_&", min_size=1, max_size=30)


@given(st.data(), st.integers(1, 12), st.integers(1, 3))
def test_a_table_keeps_what_fits_and_names_the_rest(data, columns: int, rows: int) -> None:
    heads = data.draw(st.lists(texts, min_size=columns, max_size=columns, unique=True))
    cells = st.lists(texts.map(Entry), min_size=columns, max_size=columns).map(tuple)
    body = tuple(data.draw(st.lists(cells, min_size=rows, max_size=rows)))
    made = tables.fitted(tables.PaperTable("t", "a title", tuple(heads), body))
    kept = len(made.columns)
    assert 1 <= kept <= tables.MOST_COLUMNS and made.columns == tuple(heads[:kept])
    assert all(row[:kept] == new for row, new in zip(body, made.rows, strict=True))
    widths = [
        max(map(len, [*tables.heading_lines(head), *(t for e in column for t in lines(e))]))
        for head, column in zip(made.columns, zip(*made.rows, strict=True), strict=True)
    ]
    assert kept == 1 or sum(widths) <= tables.WIDEST
    assert all(head in made.notes for head in heads[kept:])


def test_a_long_table_breaks_over_pages_and_a_caption_is_short() -> None:
    body = tuple((Entry(f"row {i}"), Entry("1")) for i in range(tables.A_PAGE + 1))
    table = tables.PaperTable("t", "word " * 60, ("method", "value"), body, "A note.")
    text = tables.table_tex(tables.fitted(table))
    assert r"\begin{longtable}" in text and r"\begin{table}" not in text
    caption = re.search(r"\\caption\{(.*?)\}", text)
    assert caption and len(caption[1].split()) <= tables.CAPTION_WORDS
    short = tables.PaperTable("t", "word", ("method", "value"), body[:-1])
    assert r"\begin{longtable}" not in tables.table_tex(short)
