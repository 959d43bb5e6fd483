"""The harness of faults, at a few moments; `tox -e chaos` tries more of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
POINTS = os.environ.get("COMPACT_CHAOS_POINTS", "2")

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.mark.parametrize("command", ["tune", "publish"])  # `tune` runs a suite, too
def test_a_command_given_again_after_a_fault_leaves_the_same_files(command):
    words = [sys.executable, "-m", "tests.chaos", command, "--points", POINTS]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith(" 0 problems\n")
