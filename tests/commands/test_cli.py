"""The command line: exit codes, one line for bad input, JSON for scripts, speed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from compact_bench import __main__

ROOT = Path(__file__).parents[2]
GSM8K = str(ROOT / "suites" / "gsm8k.yaml")


@pytest.fixture
def call(capsys):
    """Call the command line in this process; return exit code, stdout and stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            __main__.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return run


@pytest.fixture
def refused(call, tmp_path):
    """Call with bad input: exit code 2, one line on stderr, nothing started; return the line."""

    def run(*arguments: object) -> str:
        code, out, err = call(*arguments)
        assert code == 2
        assert err.count("\n") == 1
        assert "Traceback" not in out + err
        assert not list(tmp_path.glob("results/*/*/runs"))
        return err

    return run


def test_help_names_every_command(call):
    code, out, _ = call("--help")
    assert code == 0
    for name in (
        "run",
        "plan",
        "list",
        "validate",
        "report",
        "tune",
        "publish",
        "reproduce",
        "test",
        "new",
    ):
        assert f"  {name} " in out


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


def test_validate(call, refused, write_suite, plugins):
    code, out, _ = call("validate", GSM8K, write_suite(), "--plugins", plugins)
    assert code == 0
    assert out.count(": ok") == 5
    assert "did you mean 'still'" in refused(
        "validate", write_suite(methods=["stil"]), "--profile", "mini", "--plugins", plugins
    )


def test_bad_input_is_one_line_and_exit_code_2(refused, write_suite, plugins, tmp_path):
    results = tmp_path / "results"
    tail = ["--plugins", plugins, "--results", results]
    good = write_suite()
    assert "limit" in refused("run", good, "--limit", "0", *tail)
    assert "--seeds x" in refused("run", good, "--seeds", "x", *tail)
    assert "did you mean 'mini'" in refused("run", good, "--profile", "minni", *tail)
    assert "no such row" in refused("run", good, "--only", "dumy", *tail)
    assert "no such folder" in refused("run", good, "--plugins", tmp_path / "none")
    assert "can't read" in refused("run", tmp_path / "none.yaml")
    assert "none.gguf" in refused("run", good, "--set", "student.id=none.gguf", *tail)
    assert "No such option" in refused("run", good, "--hurry")
    wrong = write_suite(methods=["still", "avrage"])
    assert "tiny.yaml:6: unknown method 'avrage' (did you" in refused("run", wrong, *tail)


def test_bad_data_is_one_line_and_exit_code_2(refused, write_suite, plugins, data_files, tmp_path):
    tail = ["--plugins", plugins, "--results", tmp_path / "results"]
    train, test = data_files
    path = write_suite()
    assert "teacher" in refused("run", path, "--set", "data.teachers=[ada, carl]", *tail)
    assert "flying" in refused("run", path, "--set", "data.source=flying", *tail)
    rows = test.read_text()
    test.write_text(rows + train.read_text().splitlines()[0] + "\n")
    assert "test" in refused("run", path, *tail)
    test.write_text(rows)
    train.write_text(train.read_text() + '{"question": 3}\n')
    assert "train.jsonl:31" in refused("run", path, *tail)


def test_a_student_that_cannot_be_loaded_is_exit_code_2(refused, write_suite, plugins, tmp_path):
    student = tmp_path / "student"
    student.mkdir()
    (student / "config.json").write_text("{}")
    tail = ["--plugins", plugins, "--results", tmp_path / "results"]
    line = refused("run", write_suite(), "--set", f"student.id={student}", *tail)
    assert f"--set student.id={student}: student.id: can't load" in line


def test_unwritable_results_is_exit_code_2(refused, write_suite, plugins, tmp_path):
    (tmp_path / "file").write_text("")
    line = refused("run", write_suite(), "--plugins", plugins, "--results", tmp_path / "file")
    assert "can't write to the results folder" in line


def test_report_without_records_is_exit_code_2(refused, tmp_path):
    assert "no results in" in refused("report", GSM8K, "--results", tmp_path / "results")


@pytest.fixture
def readme_plugin(tmp_path):
    """A plugin folder with the method that the README shows."""
    folder = tmp_path / "readme"
    folder.mkdir()
    text = (ROOT / "README.md").read_text("utf-8")
    (folder / "shortest.py").write_text(text.split("```python\n")[1].split("```")[0])
    return folder


def test_run_report_and_run_again(call, tmp_path, readme_plugin):
    results = tmp_path / "results"
    # Not --limit: a quick look is refused by publish.
    arguments = ["run", GSM8K, "--seeds", "0", "--only", "average"]
    arguments += ["--set", "data.train=6", "--set", "data.test=6"]
    arguments += ["--set", "evaluation.tasks=[{task: in_domain, role: reasoning}]"]
    arguments += ["--set", "methods=[average, shortest, answer_sft]", "--plugins", readme_plugin]
    arguments += ["--only", "shortest", "--set", "training.epochs=1"]
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


def _times_click(command: list[str], rounds: int = 5) -> float:
    """How many times as long as `import click` a command takes, in its best round.

    Both are timed in turn: a machine that is slow for a while is so for both.
    """

    def seconds(words: list[str]) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, *words], check=True, capture_output=True, cwd=ROOT)
        return time.perf_counter() - start

    return min(seconds(command) / seconds(["-c", "import click"]) for _ in range(rounds))


def test_help_and_list_start_fast():
    assert _times_click(["-m", "compact_bench", "--help"]) <= 4
    assert _times_click(["-m", "compact_bench", "list", "methods"]) <= 8


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"source": "svmp", "test_source": None}, "did you mean 'svamp'"),
        ({"source": "svamp", "test_source": None, "teachers": ["gpt4"]}, "teacher 'gpt4'"),
    ],
)
def test_validate_checks_names_without_reading_the_data(
    call, write_suite, suite_values, plugins, changes, expected
):
    path = write_suite(data=suite_values["data"] | changes)
    code, out, err = call("validate", path, "--plugins", plugins)
    assert code == 2
    assert expected in out + err


def test_bad_data_is_one_line_and_nothing_starts(refused, write_suite, data_files, plugins):
    train, test = data_files
    suite = write_suite()
    first = train.read_text().splitlines()[0]
    test.write_text(test.read_text() + first + "\n")
    assert "test questions of 'in_domain' are in the training set" in refused(
        "run", suite, "--plugins", plugins
    )
    with train.open("a") as file:
        file.write('{"question": oops\n')
    assert f"{train}:31: not JSON" in refused("run", suite, "--plugins", plugins)


def test_a_wrong_checksum_is_refused(refused, write_suite, plugins, tmp_path):
    from compact_bench.data.sources import RAW, catalog

    for repository in catalog().repositories.values():
        for name in repository.files:
            path = tmp_path / "mirror" / repository.url.removeprefix(RAW) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("[]")
    suite = write_suite(data={"source": "svamp"})
    line = refused("run", suite, "--plugins", plugins, "--mirror", tmp_path / "mirror")
    assert "SHA-256" in line and "the catalog expects" in line


def test_a_broken_plugin_stops_only_what_selects_it(call, refused, write_suite, plugins):
    (plugins / "broke.py").write_text("import nothing_here\n")
    code, out, _ = call("list", "methods", "--plugins", plugins)
    assert code == 0 and "No module named 'nothing_here'" in out
    suite = write_suite(methods=["still", "broke"])
    assert "broke.py: ModuleNotFoundError" in refused("run", suite, "--plugins", plugins)


def test_test_runs_the_checks_of_a_plugin(call, refused, tmp_path):
    """One that passes, as JSON, and one that fails, as a table; a mistyped name starts nothing."""
    from compact_bench.commands import new

    new.write("near_short", tmp_path)
    code, out, _ = call("test", "near_short", "--plugins", tmp_path, "--json")
    rows = json.loads(out)
    assert code == 0 and {row["result"] for row in rows} == {"ok"}
    assert {"check", "result", "why", "description"} == set(rows[0])
    file = tmp_path / "near_short.py"
    file.write_text(file.read_text().replace("return fusion", "return 2 * fusion"))
    code, out, _ = call("test", "near_short", "--plugins", tmp_path, "--set", "temperature=5")
    assert code == 1
    assert "sum to 1 over what is present, got the sums [2, 2]" in out
    assert out.splitlines()[-1].startswith("near_short: ") and "FAILED" in out
    near = refused("test", "near_shrt", "--plugins", tmp_path)
    assert "unknown method 'near_shrt' (did you mean 'near_short'?)" in near
    wrong = refused("test", "near_short", "--plugins", tmp_path, "--set", "temperature=-1")
    assert "--set temperature: Input should be greater than 0" in wrong
    assert "expected KEY=VALUE" in refused("test", "average", "--set", "alpha")


def test_new_says_what_to_do_next_and_never_overwrites(call, refused, tmp_path):
    code, out, _ = call("new", "near_short", "--to", tmp_path)
    assert code == 0
    assert f"test near_short --plugins {tmp_path}" in out and "weights" in out
    before = (tmp_path / "near_short.py").read_text()
    assert "there is a method of that name" in refused("new", "near_short", "--to", tmp_path)
    assert (tmp_path / "near_short.py").read_text() == before
