"""Pictures of one question show the numbers that they are given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from docs import make_pictures

GRAPH = np.array([[1.0, 0.8, 0.2], [0.8, 1.0, 0.0], [0.2, 0.0, 1.0]])
NAMES = ("equations", "sentences", "terse")
GAINS = {"equations": [0.1, 0.8, 0.2], "terse": [-0.2, float("nan"), -0.3, 0.1]}
RIGHT = {"equations": True, "terse": False}


def drawn(monkeypatch: pytest.MonkeyPatch, maker: Any, *given: Any) -> Figure:
    kept: list[Figure] = []
    monkeypatch.setattr(make_pictures, "Rendering", lambda figure: kept.append(figure) or {})
    maker(*given)
    return kept[0]


def test_edges_are_as_wide_as_rationales_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = drawn(
        monkeypatch, make_pictures.consensus_graph, GRAPH, NAMES, [1, 1, 0], [1.0, 0.8, 0.2]
    )
    axis = figure.axes[0]
    edges = next(one for one in axis.collections if hasattr(one, "get_segments"))
    widths = sorted(edges.get_linewidths())
    assert len(widths) == 2  # none where two don't agree at all, and no loops
    assert (widths[1] - 0.4) / (widths[0] - 0.4) == pytest.approx(0.8 / 0.2)
    nodes = [one for one in axis.collections if one is not edges]
    assert [tuple(np.round(one.get_facecolor()[0][:3], 2)) for one in nodes] == (
        [(0.0, 0.62, 0.45)] * 2 + [(0.84, 0.37, 0.0)]
    )
    texts = [text.get_text() for text in axis.texts]
    assert set(texts) == {*NAMES, "1.00", "0.80", "0.20"}


@pytest.mark.parametrize("count", [1, 2])
def test_few_rationales_and_no_edges_are_still_a_picture(count: int) -> None:
    zero = np.zeros((count, count))
    content = make_pictures.consensus_graph(zero, NAMES[:count], [True] * count, [0.0] * count)
    assert content["svg"].startswith(b"<?xml") and content["pdf"].startswith(b"%PDF")
    assert content["png"].startswith(b"\x89PNG")


def test_the_curve_adds_up_gains_from_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    marks = {"equations": [False, True, False]}
    axis = drawn(monkeypatch, make_pictures.epiphany_curve, GAINS, RIGHT, marks).axes[0]
    lines = [line for line in axis.lines if line.get_marker() == "."]
    np.testing.assert_allclose(lines[0].get_ydata(), [0.0, 0.1, 0.9, 1.1])
    np.testing.assert_allclose(lines[1].get_ydata(), [0.0, -0.2, -0.2, -0.5, -0.4])
    assert [line.get_linestyle() for line in lines] == ["-", "--"]
    rings = [line for line in axis.lines if line.get_marker() == "o" and len(line.get_xdata())]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in rings] == [
        (2, pytest.approx(0.9))
    ]


def test_sizes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="3 names for a matrix"):
        make_pictures.consensus_graph(GRAPH[:2], NAMES, [1, 1, 0], [1.0, 0.8, 0.2])
    with pytest.raises(ValueError, match="3 gains and 2 marks"):
        make_pictures.epiphany_curve(GAINS, RIGHT, {"equations": [True, False]})
    with pytest.raises(ValueError, match="names no teacher"):
        make_pictures.epiphany_curve(GAINS, RIGHT, {"nobody": [True]})


def test_the_same_numbers_give_the_same_bytes() -> None:
    first = make_pictures.epiphany_curve(GAINS, RIGHT)
    assert first == make_pictures.epiphany_curve(GAINS, RIGHT)
