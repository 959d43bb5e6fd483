"""docs/adding_a_baseline.md is done as it is written, and the example package is installed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from compact_bench.methods import registry

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "adding_a_baseline.md").read_text("utf-8")
EXAMPLE = ROOT / "examples" / "compact_bench_votes"
BLOCKS = re.findall(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL)


def call(command: list[str], folder: Path, **more: str) -> str:
    """Run a command in a folder with this Python first in the path; return what it printed."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path, **more},
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def test_every_block_is_a_command_or_a_file():
    kinds = {(language, bool(title)) for language, title, _ in BLOCKS}
    assert kinds == {("sh", False), ("python", True), ("toml", True)}
    assert len(BLOCKS) == PAGE.count("\n```") / 2


@pytest.mark.slow
def test_the_page_from_new_to_a_row_in_the_table(tmp_path):
    shutil.copytree(ROOT / "suites", tmp_path / "suites")
    printed = []
    for language, title, text in BLOCKS:
        if language == "python":
            assert (tmp_path / title).exists()  # `new` wrote it; it is edited, not made up
            (tmp_path / title).write_text(text)
        elif language == "sh":
            # The whole table takes minutes; of the same few questions it is a row as well.
            text = re.sub(r"( run (?!.*--limit).*)", r"\1 --limit 8 --seeds 0", text)
            printed.append(call(["bash", "-ec", text], tmp_path))
    _, checked, first, again, listed = printed
    assert "near_median: 14 ok" in checked and re.search(r"\n15 passed", checked)
    assert "near_median" in again and "average" in again and first
    assert "near_median" in listed
    table = next((tmp_path / "results" / "gsm8k" / "mini" / "tables").glob("*.csv")).parent
    assert any("near_median" in file.read_text() for file in table.glob("*.csv"))


def test_the_table_of_hooks_names_files_that_override_them():
    rows = re.findall(r"\| `(\w+)\(.*?\| `(baselines/\w+\.py)` \|", PAGE)
    assert len(rows) == 11
    methods = {Path(source).name: name for name, source in registry.load().sources.items()}
    for hook, file in rows:
        method = registry.load().get(methods[Path(file).name])
        assert hook in vars(method), f"{file} doesn't override {hook}"


def test_the_toml_block_is_the_example_s():
    (block,) = [text for language, _, text in BLOCKS if language == "toml"]
    given = tomllib.loads((EXAMPLE / "pyproject.toml").read_text("utf-8"))
    shown = tomllib.loads(block)["project"]["entry-points"]
    assert given["project"]["entry-points"] == shown


@pytest.mark.slow
def test_the_example_package_is_found_checked_and_run(tmp_path):
    source, site = tmp_path / "source", tmp_path / "site"
    shutil.copytree(EXAMPLE, source)  # building leaves files in the folder
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    call([*pip, "--no-build-isolation", "--target", str(site), str(source)], tmp_path)
    bench = [sys.executable, "-m", "compact_bench"]
    found = json.loads(call([*bench, "list", "methods", "--json"], tmp_path, PYTHONPATH=str(site)))
    assert [row["hook"] for row in found if row["name"] == "votes"] == ["weights"]
    # The conformance checks among its tests are those of `test votes` below.
    tests = [sys.executable, "-m", "pytest", "-q", "-k", "not conformance", "tests"]
    assert "3 passed, 14 deselected" in call(tests, source, PYTHONPATH=str(site))
    checked = call([*bench, "test", "votes", "--json"], tmp_path, PYTHONPATH=str(site))
    assert {row["result"] for row in json.loads(checked)} == {"ok"}
    suite = [str(ROOT / "suites" / "gsm8k.yaml"), "--limit", "4", "--seeds", "0"]
    chosen = ["--set", "methods=[average, votes]", "--set", "evidence=null",
              "--results", str(tmp_path / "results")]  # fmt: skip
    table = call([*bench, "run", *suite, *chosen], tmp_path, PYTHONPATH=str(site))
    assert re.search(r"^\W*votes\b", table, re.MULTILINE)
