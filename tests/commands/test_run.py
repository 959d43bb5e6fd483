"""`run`, then what reads its records: `run` again, `report`, `plan`, `publish`, `reproduce`."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest

from compact_bench.analysis.results import read
from compact_bench.report.verdict import verdict
from tests.conftest import one_thread_a_cell

ROOT = Path(__file__).parents[2]
GSM8K = str(ROOT / "suites" / "gsm8k.yaml")


@pytest.fixture
def readme_plugin(tmp_path):
    """A plugin folder with the method that the README shows."""
    folder = tmp_path / "readme"
    folder.mkdir()
    text = (ROOT / "README.md").read_text("utf-8")
    (folder / "shortest.py").write_text(text.split("```python\n")[1].split("```")[0])
    return folder


def test_run_report_and_run_again(call, tmp_path, readme_plugin, monkeypatch):
    one_thread_a_cell(monkeypatch)  # `reproduce` compares bits
    results = tmp_path / "results"
    # Not --limit: a quick look is refused by publish.
    arguments = ["run", GSM8K, "--jobs", "1", "--seeds", "0", "--only", "average"]
    arguments += ["--set", "data.train=6", "--set", "data.test=6"]
    arguments += ["--set", "evaluation.tasks=[{task: in_domain, role: reasoning}]"]
    arguments += ["--set", "methods=[average, shortest, answer_sft]", "--plugins", readme_plugin]
    arguments += ["--only", "shortest", "--set", "training.epochs=1", "--set", "selection=null"]
    code, out, err = call(*arguments, "--results", results)
    assert code == 0, out + err
    root = results / "gsm8k" / "mini"
    assert "shortest" in out
    # What nobody asked for is in the report alone.
    assert "answer_sft" not in out and "not run yet" not in out
    assert "| answer_sft |" in (root / "tables" / "main.md").read_text()
    assert f"report: {root / 'report.html'}" in out
    page = (root / "report.html").read_bytes()
    assert (root / "suite.json").exists()
    code, out, _ = call(*arguments, "--results", results)
    assert code == 0
    assert "2 cells, 2 of them kept" in out
    code, out, err = call(*arguments, "--results", results, "--json")
    told = json.loads(out)  # what a run says besides goes to stderr
    assert code == 0 and "2 cells, 2 of them kept" in err
    assert told["cells"] == {"done": 2, "missing": 1} and told["page"] == str(root / "report.html")
    accuracy = {row["label"]: row["in_domain.accuracy.mean"] for row in told["rows"]}
    assert accuracy["answer_sft"] is None and 0 <= accuracy["shortest"] <= 1
    assert told["verdict"] == [*verdict(read(root)).sentences] != []
    shutil.rmtree(root / "tables")
    assert call("report", GSM8K, "--results", results)[0] == 0
    assert (root / "report.html").read_bytes() == page
    plan = json.loads(call("plan", *arguments[1:], "--results", results, "--json")[1])
    assert [cell["status"] for cell in plan["cells"]] == ["done", "done"]
    assert "cells of this suite that are done" in plan["estimate"]["source"]
    assert call("publish", GSM8K, "--results", results)[0] == 0
    assert (results / "published" / "gsm8k" / "mini" / "suite.json").exists()
    code, out, _ = call("reproduce", GSM8K, "--results", results)
    assert code == 0
    assert "different" not in out
    told = json.loads(call("reproduce", GSM8K, "--results", results, "--json")[1])
    assert all(line["same"] for line in told)


def test_the_readme_s_commands_for_own_data(call, data_files, tmp_path, monkeypatch, no_pictures):
    """As they are printed, but for a quick look at one row of the table."""
    one_thread_a_cell(monkeypatch)
    section = (ROOT / "README.md").read_text("utf-8").split("## Your data\n")[1]
    block = section.split("```sh\n")[1].split("```")[0].replace("\\\n", " ")
    command, audit = (shlex.split(line) for line in block.splitlines())
    assert command[:4] == ["python", "-m", "compact_bench", "run"]
    (tmp_path / "suites").mkdir()
    shutil.copy(ROOT / "suites" / "own.yaml", tmp_path / "suites")
    monkeypatch.chdir(tmp_path)
    assert {path.name for path in data_files} <= set(" ".join(command).replace("=", " ").split())
    quick = ["--limit", "4", "--seeds", "0", "--only", "average", "--jobs", "1"]
    code, out, err = call(*audit[3:])
    assert code == 0, out + err
    assert "ada" in out and "bob" in out and "Whom to pay first" in out
    code, out, err = call(*command[3:], *quick)
    assert code == 0, out + err
    assert "4 training questions, teachers right on: ada 100.0%, bob 100.0%" in out
    assert "cells: 1 done" in out
