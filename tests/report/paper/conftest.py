"""A small paper that the tests of its parts share."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from compact_bench.report.paper.document import Source, write_paper
from tests import synthetic
from tests.synthetic import Made

LABELS = ("base", "average", "compact", "single_teacher[reordered]")
TITLE = "50% of a_b & \\input{/etc/passwd} #1 ~ {x} $y$"
BIBTEX = "@misc{cui2026,\n  title={One},\n  year={2026}\n}"
SOURCES = {
    "compact": Source("arXiv:2601.13992", BIBTEX),
    "average": Source(f"https://papers.example.org/paper_100%25/{'0123456789abcdef' * 4}.html"),
}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The records, and beside them the paper."""
    root = tmp_path_factory.mktemp("records")
    made = Made(labels=LABELS, items=20, steps=4, latent=True, suite={"title": TITLE})
    synthetic.make(root, made)
    write_paper(root, root / "paper", SOURCES)
    return root


def compiled(folder: Path, *more: str) -> tuple[int, str]:
    """Exit code and log of pdflatex."""
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex on this machine")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", *(more or ["paper"])]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    return done.returncode, done.stdout
