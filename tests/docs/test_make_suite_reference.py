"""docs/suite_reference.md is what its script writes, with every key and its bounds."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
from pydantic import ValidationError

from compact_bench.suite import sections
from compact_bench.suite.schema import Suite

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "suite_reference.md").read_text("utf-8")


def test_the_page_is_what_the_script_writes():
    script = runpy.run_path(str(DOCS / "make_suite_reference.py"))
    assert script["page"]() == PAGE, "run: python docs/make_suite_reference.py"


def test_every_key_of_every_section_is_there_and_links_lead_somewhere():
    models = [value for value in vars(sections).values() if isinstance(value, type)]
    models = [one for one in models if issubclass(one, sections.Strict) and one.model_fields]
    keys = {f"| `{key}` |" for model in (*models, Suite) for key in model.model_fields}
    assert keys <= set(re.findall(r"^\| `[a-z_]+` \|", PAGE, re.MULTILINE))
    headings = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    anchors = {heading.replace(".", "") for heading in headings}
    assert set(re.findall(r"\(#([a-z_]+)\)", PAGE)) <= anchors


def test_a_bound_that_is_written_is_the_one_that_is_checked():
    row = next(line for line in PAGE.splitlines() if line.startswith("| `warmup` |"))
    assert "at least 0, below 1" in row and "`0.05`" in row
    recipe = {"learning_rate": 1e-3, "epochs": 1, "batch_size": 1}
    assert sections.TrainingSpec(**recipe).warmup == 0.05
    sections.TrainingSpec(**recipe, warmup=0.0)
    with pytest.raises(ValidationError):
        sections.TrainingSpec(**recipe, warmup=1.0)
