"""Stub cells in a worker that a fault may befall; the environment says where and which."""

from __future__ import annotations

import os
from pathlib import Path

import stub_cells
from kill_points import Moments

check = stub_cells.check

if "CHAOS_FOLDER" in os.environ:
    folder, at, fault = (os.environ[f"CHAOS_{name}"] for name in ("FOLDER", "AT", "FAULT"))
    Moments(Path(folder), "worker", int(at), fault).install()


def cell(spec, folder, mirror, plugins, progress) -> None:
    """Write the records that depend on the settings alone; every tenth seed fails in its way."""
    stub_cells.tuned_cell(spec, folder, mirror, plugins, progress)
