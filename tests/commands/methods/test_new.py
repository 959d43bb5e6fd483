"""`new` writes files that pass as they are, once, and refuses what it can't write."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from compact_bench.commands.methods import new
from compact_bench.errors import UserError
from compact_bench.methods import registry

ROOT = Path(__file__).parents[3]
LONG = "weights_by_what_others_add_to"[: new.LONGEST]


@pytest.mark.parametrize("name", ["a", "near_short", LONG])
@pytest.mark.parametrize("own_folder", [True, False])
def test_the_files_pass_lint_and_format(tmp_path, name, own_folder):
    paths = []
    for kind, text in zip(("", "test_"), new.render(name, own_folder), strict=True):
        ast.parse(text)
        paths.append(tmp_path / f"{kind}{name}.py")
        paths[-1].write_text(text)
    settings = ["--no-cache", "--config", str(ROOT / "pyproject.toml"), *map(str, paths)]
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *settings], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_in_a_checkout_the_files_go_to_its_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tests" / "baselines").mkdir(parents=True)
    (tmp_path / "baselines").mkdir()
    text = new.write("near_short")
    test = (tmp_path / "tests" / "baselines" / "test_near_short.py").read_text()
    assert "from compact_bench_baselines.near_short import NearShort" in test
    assert "pytest tests/baselines/test_near_short.py" in text and "--plugins" not in text
    assert (tmp_path / "baselines" / "near_short.py").exists()


def test_in_a_folder_of_its_own_it_is_a_plugin(tmp_path):
    folder = tmp_path / "more" / "mine"
    text = new.write("near_short", folder)
    assert f"test near_short --plugins {folder}" in text
    found = registry.load([folder])
    assert found.broken == {}  # the test beside it is no method
    method = found.get("near_short")
    assert (method.__name__, method.hook()) == ("NearShort", "weights")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Near", "expected lower-case letters"),
        ("near-short", "expected lower-case letters"),
        ("../near", "expected lower-case letters"),
        ("1st", "expected lower-case letters"),
        ("", "expected lower-case letters"),
        ("lambda", "is a keyword"),
        ("n" * (new.LONGEST + 1), "has 29 characters, at most 28"),
        ("test_near", "are tests, not methods"),
        ("average", r"there is a method of that name in .*average\.py"),
    ],
)
def test_a_bad_name_is_one_line_and_nothing_is_written(tmp_path, name, message):
    folder = tmp_path / "mine"
    with pytest.raises(UserError, match=message) as caught:
        new.write(name, folder)
    assert "\n" not in str(caught.value)
    assert not folder.exists()


def test_a_name_of_a_plugin_is_taken(tmp_path, plugins):
    with pytest.raises(UserError, match=r"there is a method of that name in .*dummy\.py"):
        new.write("dummy", tmp_path / "mine", [plugins])


@pytest.mark.parametrize("existing", ["near.py", "test_near.py"])
def test_existing_files_are_kept(tmp_path, existing):
    (tmp_path / existing).write_text("# mine\n")
    with pytest.raises(UserError, match=f"{existing} exists; nothing was written"):
        new.write("near", tmp_path)
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == [existing]
    assert (tmp_path / existing).read_text() == "# mine\n"


def test_without_a_checkout_a_folder_must_be_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="name a folder with --to DIR"):
        new.write("near")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is no folder"):
        new.write("near", Path("file"))


def test_new_says_what_to_do_next_and_never_overwrites(call, refused, tmp_path):
    code, out, _ = call("new", "near_short", "--to", tmp_path)
    assert code == 0
    assert f"test near_short --plugins {tmp_path}" in out and "weights" in out
    before = (tmp_path / "near_short.py").read_text()
    assert "there is a method of that name" in refused("new", "near_short", "--to", tmp_path)
    assert (tmp_path / "near_short.py").read_text() == before
