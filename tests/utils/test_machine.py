"""What a cell records of its machine."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from pathlib import Path

import pytest

from compact_bench.utils import machine


def test_the_environment_names_versions_machine_and_commit():
    environment = machine.environment(threads=3)
    assert environment["threads"] == 3
    assert environment["python"] == platform.python_version()
    assert environment["versions"]["torch"] == importlib.metadata.version("torch")
    here = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    head = subprocess.run(here, capture_output=True, text=True, check=False).stdout.strip()
    assert (environment["git_commit"] or "").removesuffix("-dirty") == head


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository with the folder of a package in it, and a function that calls git there."""
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "me")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "me@example.org")
    package = tmp_path / "package"
    package.mkdir()
    (package / "code.py").write_text("x = 1\n")

    def git(*arguments):
        command = ["git", "-C", str(tmp_path), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    git("tag", "v1")  # the commit is recorded, not a name that may move
    return package, git


def test_a_changed_checkout_is_marked(checkout):
    package, git = checkout
    head = git("rev-parse", "HEAD")
    assert machine.git_commit(package) == head
    (package / "new.txt").write_text("not tracked")
    assert machine.git_commit(package) == head
    (package / "code.py").write_text("x = 2\n")
    assert machine.git_commit(package) == f"{head}-dirty"


def test_the_commit_of_another_project_s_repository_is_not_ours(checkout):
    package, git = checkout
    inner = package.parent / ".venv" / "site-packages" / "compact_bench"
    inner.mkdir(parents=True)
    assert git("rev-parse", "HEAD") and machine.git_commit(inner) is None
    assert machine.git_commit(package.parent / "nowhere") is None


def test_a_package_that_is_not_installed_has_no_version(monkeypatch):
    monkeypatch.setattr(machine, "RECORDED_PACKAGES", ("torch", "no-such-package-anywhere"))
    assert list(machine.environment(1)["versions"]) == ["torch"]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux alone resets it")
def test_the_peak_is_of_what_was_allocated_since_the_reset():
    block = bytearray(b"x") * (200 << 20)
    high = machine.peak_memory_mb()
    del block
    machine.reset_peak_memory()
    low = machine.peak_memory_mb()
    assert high > 200
    if low >= high:
        pytest.skip("this machine does not allow the reset")
    assert low < high - 100


@pytest.mark.parametrize(
    ("features", "expected"),
    [({"amx_bf16": True}, True), ({"avx512_bf16": True}, True), ({"avx512_f": True}, False)],
)
def test_bfloat16_is_asked_of_the_processor(features, expected, monkeypatch):
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"amx_bf16": False} | features)
    assert machine.has_bfloat16("cpu") is expected
