"""docs/method_reference.md is what its script writes, and nothing that a method gets is missing."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from compact_bench import api

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(DOCS / "make_reference.py"))


def test_the_page_is_what_the_script_writes(script):
    written = (DOCS / "method_reference.md").read_text("utf-8")
    assert script["page"]() == written, "run: python docs/make_reference.py"


def test_every_class_that_a_hook_is_given_is_there(script):
    """Those of the API but parts of methods, which a hook is not given."""
    named = {kind.__name__ for kind in script["CLASSES"]}
    parts = {"Axes", "CellError", "Compatibility", "BaseModel", "Tunable", "Annotated"}
    values = {name: getattr(api, name) for name in api.__all__ if name not in parts}
    classes = {name: value for name, value in values.items() if isinstance(value, type)}
    bases = {n for n, v in classes.items() if issubclass(v, api.Distiller)} - {"Distiller"}
    assert {*classes} - bases <= named
    page = script["page"]()
    for heading in ("### `forward(", "### `sample(", "### `right: Tensor`", "### `lowest("):
        assert heading in page
    step = page.split("## Step\n")[1].split("```")[1]
    assert [line.split(":")[0] for line in step.splitlines()[1:]][:4] == [
        "loss", "weights", "nll", "scores",
    ]  # fmt: skip
