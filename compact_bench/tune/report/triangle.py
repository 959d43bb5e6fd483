"""An equilateral triangle of three shares: places in it, its grid and its corners' names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from compact_bench.report.parts.style import PALETTE

# Of the first, second and third share: top, lower left, lower right; sides of length 1.
CORNERS = np.array([[0.5, math.sqrt(3) / 2], [0.0, 0.0], [1.0, 0.0]])

GRID = (0.25, 0.5, 0.75)

_COLOURS = (PALETTE[0], "#b34e00", "#00755a")  # dark enough for text

_NAMES_AT = CORNERS + [[0, 0.025], [-0.04, -0.06], [0.04, -0.06]]

_NAMES_ALIGNED: Any = ("bottom", "top", "top")

_NUMBERS_ALIGNED: Any = (("left", "center"), ("right", "bottom"), ("right", "top"))


def place(shares: np.ndarray) -> np.ndarray:
    """Places in the triangle: shares times CORNERS.

    shares: (n,3), each row of sum 1. Returns (n,2) float64.

    >>> place(np.array([[0.0, 0.5, 0.5]])).tolist()
    [[0.5, 0.0]]
    """
    return np.asarray(shares, dtype=float) @ CORNERS


def grid_line(corner: int, share: float) -> np.ndarray:
    """Both ends of the line on which one share is constant.

    corner: whose share. Returns (2,2) float64 places; the first lies on the side where the shares
    of this corner are written, each corner's on a side of its own.
    """
    start, end = np.zeros(3), np.zeros(3)
    start[corner] = end[corner] = share
    start[(corner + 2) % 3] = end[(corner + 1) % 3] = 1 - share
    return place(np.stack([start, end]))


def frame(axis: Axes, names: Sequence[str]) -> None:
    """Draw the triangle, its grid, and at the corners their names."""
    axis.set_axis_off()
    axis.set_aspect("equal")
    axis.set(xlim=(-0.22, 1.22), ylim=(-0.15, 0.96))
    axis.fill(*CORNERS.T, facecolor="none", edgecolor="#444444", linewidth=1.0, zorder=3)
    for corner, name in enumerate(names):
        _grid_of(axis, corner)
        x, y = _NAMES_AT[corner]
        axis.text(
            x, y, name, ha="center", va=_NAMES_ALIGNED[corner], color=_COLOURS[corner],
            fontsize=9.5, fontweight="bold",
        )  # fmt: skip


def _grid_of(axis: Axes, corner: int) -> None:
    """The lines of one corner's share, with a mark and a number where they begin."""
    colour = _COLOURS[corner]
    across, down = _NUMBERS_ALIGNED[corner]
    for share in GRID:
        start, end = grid_line(corner, share)
        outwards = (start - end) / np.linalg.norm(start - end)
        axis.plot(*np.stack([start, end]).T, color="#8a9097", linewidth=0.6, alpha=0.6, zorder=2.5)
        tick = np.stack([start, start + 0.025 * outwards])
        axis.plot(*tick.T, color=colour, linewidth=1.2, zorder=3)
        x, y = start + 0.032 * outwards
        axis.text(x, y, f"{100 * share:.0f}%", ha=across, va=down, fontsize=7.5, color=colour)
