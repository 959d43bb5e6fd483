"""`plan`: the cells as JSON and as text, without a trace."""

from __future__ import annotations

import json


def test_plan_as_json_and_text(call, write_suite, plugins, tmp_path):
    arguments = ["plan", write_suite(), "--plugins", plugins, "--results", tmp_path / "results"]
    code, out, _ = call(*arguments, "--json")
    assert code == 0
    plan = json.loads(out)
    assert [(cell["label"], cell["seed"]) for cell in plan["cells"]] == [
        ("still", None),
        ("dummy", 0),
        ("dummy", 1),
    ]
    assert {cell["status"] for cell in plan["cells"]} == {"missing"}
    assert plan["estimate"]["cells"] == 3
    assert plan["estimate"]["seconds"] > 0
    assert "token counts" in plan["estimate"]["source"]
    code, out, _ = call(*arguments)
    assert code == 0
    assert "3 cells to do" in out
    assert not (tmp_path / "results").exists()  # a plan leaves no trace


def test_options_reach_the_plan(call, write_suite, plugins, tmp_path):
    options = ["--seeds", "4-5", "--only", "dummy", "--profile", "laptop", "--jobs", "2", "--json"]
    arguments = ["plan", write_suite(), "--plugins", plugins, "--results", tmp_path / "r"]
    plan = json.loads(call(*arguments, *options)[1])
    assert plan["profile"] == "laptop"
    assert plan["jobs"] == 2
    assert [(cell["label"], cell["seed"]) for cell in plan["cells"]] == [("dummy", 4), ("dummy", 5)]
