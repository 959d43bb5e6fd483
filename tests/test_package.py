"""The door for Python: run a suite, load its results, and nothing heavy before that."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import compact_bench
from compact_bench.errors import UserError
from compact_bench.methods import registry

GSM8K = Path(__file__).parent.parent / "suites" / "gsm8k.yaml"


def test_a_suite_runs_and_its_results_are_a_frame(tmp_path, capsys):
    values = yaml.safe_load(GSM8K.read_text("utf-8"))
    task = "evaluation.tasks=[{task: in_domain, role: reasoning}]"
    changes = ["methods=[average, answer_sft]", "selection=null", "training.epochs=1", task]
    options = {"seeds": [0], "limit": 4, "overrides": changes}
    results = compact_bench.run(values, results=tmp_path, only=["average"], **options)
    assert "1 done" in capsys.readouterr().out
    row, left_out = (results.named(name) for name in ("average", "answer_sft"))
    assert row.complete and row.trained and left_out.problems() == ["not run yet (seed 0)"]
    frame = results.frame()
    assert set(frame["row"]) == {"average"} and set(frame["seed"]) == {0}
    accuracy = frame.query("metric == 'accuracy' and filter == 'strict'")["value"].item()
    right = [sample["right"] for sample in row.done[0].samples()]
    assert accuracy == pytest.approx(sum(right) / len(right))
    folder = tmp_path / "gsm8k" / "mini"
    assert (folder / "report.html").exists()
    assert compact_bench.load(folder).frame().equals(frame)
    assert compact_bench.load(str(folder)).suite["limit"] == 4


def test_wrong_input_is_an_error_that_names_it(tmp_path):
    with pytest.raises(UserError, match=r"no profile 'minni' \(did you mean 'mini'"):
        compact_bench.run(GSM8K, "minni", tmp_path)
    with pytest.raises(UserError, match="suite: key 'title' is missing in the suite"):
        compact_bench.run({"suite": "x"}, results=tmp_path)
    with pytest.raises(UserError, match="no results in"):
        compact_bench.load(tmp_path / "nothing")
    assert list(tmp_path.iterdir()) == []


def test_importing_the_package_imports_nothing_else():
    code = "import sys, compact_bench; print({'pandas', 'torch', 'yaml', 'click'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_citation_names_this_release():
    cited = yaml.safe_load((GSM8K.parent.parent / "CITATION.cff").read_text("utf-8"))
    assert cited["version"] == compact_bench.__version__
    # The published paper, whose BibTeX the method has.
    (paper,) = cited["references"]
    bibtex = registry.load().get("compact").bibtex
    assert all(one["family-names"] in bibtex for one in paper["authors"])
    assert paper["identifiers"][0]["value"].removeprefix("arXiv:") in bibtex


def test_git_sees_no_environment_whether_folder_or_file(tmp_path):
    shutil.copy(GSM8K.parent.parent / ".gitignore", tmp_path)
    (tmp_path / ".venv").write_text("what tox leaves")
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv" / "pyvenv.cfg").write_text("")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    command = ["git", "status", "--porcelain", "--untracked-files=all"]
    seen = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert seen == "?? .gitignore\n"
