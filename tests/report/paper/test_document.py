"""A paper's parts compile as they are and fit the page."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.report.paper.conftest import compiled


def test_the_document_compiles_and_nothing_sticks_out(folder: Path) -> None:
    paper = folder / "paper"
    assert compiled(paper)[0] == 0
    subprocess.run(["bibtex", "paper"], cwd=paper, check=True, capture_output=True)
    compiled(paper)
    code, log = compiled(paper)
    assert code == 0
    assert "Overfull \\hbox" not in log and "undefined" not in log and "multiply" not in log


def test_references_are_of_the_rows_that_there_are(folder: Path) -> None:
    paper = folder / "paper"
    assert (paper / "refs.bib").read_text("utf-8").count("@") == 1
    assert r"\cite{cui2026}" in (paper / "paper.tex").read_text("utf-8")
