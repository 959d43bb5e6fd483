"""`list`: what there is to choose from, for a reader and as JSON."""

from __future__ import annotations

import json

import pytest


def test_list_methods_as_json(call):
    code, out, _ = call("list", "methods", "--json")
    assert code == 0
    methods = {row["name"]: row for row in json.loads(out)}
    assert methods["average"]["hook"] == "none"
    assert methods["random_teacher"]["hook"] == "rows"
    for row in methods.values():
        assert {"name", "reference", "needs", "hook"} <= set(row)
        assert isinstance(row["needs"], list)
        assert row["broken"] is None


def test_a_broken_plugin_is_listed_with_its_reason(call, plugins):
    (plugins / "bad.py").write_text("import nowhere_to_be_found")
    code, out, _ = call("list", "methods", "--plugins", plugins, "--json")
    assert code == 0
    rows = {row["name"]: row for row in json.loads(out)}
    assert "ModuleNotFoundError" in rows["bad"]["broken"]
    assert rows["dummy"]["broken"] is None
    assert "ModuleNotFoundError" in call("list", "methods", "--plugins", plugins)[1]


@pytest.mark.parametrize(
    ("what", "name"),
    [("suites", "gsm8k"), ("tasks", "csqa"), ("students", "nano"), ("datasets", "svamp")],
)
def test_list(call, what, name):
    code, out, _ = call("list", what, "--json")
    assert code == 0
    assert name in [row["name"] for row in json.loads(out)]
    assert name in call("list", what)[1]
