"""A module that is imported when an attribute of it is read, and not before."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
from compact_bench.utils.lazy import LazyModule
module = LazyModule("colorsys")
assert "colorsys" not in sys.modules
print(module.rgb_to_hsv(1, 0, 0))
assert "colorsys" in sys.modules
"""


def test_a_module_is_imported_at_its_first_use():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout == "(0.0, 1.0, 1)\n"
