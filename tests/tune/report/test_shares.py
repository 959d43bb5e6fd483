"""Places in the triangle of shares, and what is drawn there."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from compact_bench.tune.report import shares, triangle
from compact_bench.tune.trials import COMPLETE, Search, Trial
from tests.synthetic_search import SHARES, SUITE, bowl, made


def test_the_corners_the_centre_and_the_sides_of_the_triangle() -> None:
    height = math.sqrt(3) / 2
    found = triangle.place(
        np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1 / 3] * 3, [0.5, 0.5, 0], [0.25, 0, 0.75]])
    )
    expected = [(0.5, height), (0, 0), (1, 0), (0.5, height / 3), (0.25, height / 2),
                (0.875, height / 4)]  # fmt: skip
    assert found == pytest.approx(np.array(expected))


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3).filter(lambda one: sum(one) > 0.01))
def test_a_share_is_the_distance_to_the_opposite_side(weights: list[float]) -> None:
    # Viviani: in an equilateral triangle the three distances sum to the height.
    whole = np.array([weights]) / sum(weights)
    point = triangle.place(whole)[0]
    for corner in range(3):
        a, b = (triangle.CORNERS[(corner + i) % 3] for i in (1, 2))
        side = b - a
        away = abs(side[0] * (point - a)[1] - side[1] * (point - a)[0])
        assert away / (math.sqrt(3) / 2) == pytest.approx(whole[0, corner], abs=1e-9)


@pytest.mark.parametrize("corner", range(3))
@pytest.mark.parametrize("share", triangle.GRID)
def test_grid_lines_are_of_one_share_and_begin_on_sides_of_their_own(
    corner: int, share: float
) -> None:
    ends = triangle.grid_line(corner, share)
    back = np.linalg.solve(np.vstack([triangle.CORNERS.T, np.ones(3)]), np.vstack([ends.T, [1, 1]]))
    assert back[corner] == pytest.approx([share, share])
    assert np.flatnonzero(np.isclose(back[:, 0], 0)).tolist() == [(corner + 1) % 3]
    assert np.flatnonzero(np.isclose(back[:, 1], 0)).tolist() == [(corner + 2) % 3]


def test_the_triangle_draws_each_trial_at_its_shares(seen: list[Figure]) -> None:
    one = made(bowl, 15)
    shares.ternary(Search(SUITE, (one,)))
    axis = seen[0].axes[0]
    dots = next(item for item in axis.collections if len(item.get_offsets()) == 15)
    x = [(t.settings["beta_adaptability"] / 2 + t.settings["beta_difficulty"]) / 2.5
         for t in one.trials]  # fmt: skip
    assert np.asarray(dots.get_offsets())[:, 0] == pytest.approx(x)
    texts = {text.get_text() for text in axis.texts}
    assert {"adaptability", "consensus", "difficulty", "25%", "50%", "75%"} == texts
    stars = [line for line in axis.lines if line.get_marker() == "*"]
    assert [line.get_xdata()[0] for line in stars] == pytest.approx([0.4])  # (1 / 2 + 0.5) / 2.5


def test_shares_that_are_none_are_nan() -> None:
    whole = {knob.name: knob.default for knob in SHARES}
    chosen = [{"beta_adaptability": 1.0, "beta_consensus": 1.0}, dict.fromkeys(whole, 0.0), whole]
    trials = [Trial(i, COMPLETE, one, (1.0,)) for i, one in enumerate(chosen)]
    found = shares.parts(trials, SHARES)
    assert np.isnan(found[:2]).all()
    assert found[2] == pytest.approx([0.4, 0.4, 0.2])


def test_a_mesh_needs_different_points_that_are_not_on_a_line() -> None:
    square = np.array([[x, y] for x in range(4) for y in range(4)], dtype=float)
    twice = np.vstack([square, square])
    made_mesh = shares.mesh(twice, np.arange(32.0))
    assert made_mesh is not None
    assert made_mesh[1].tolist() == [i + 8 for i in range(16)]  # the mean of i and i + 16
    assert shares.mesh(square[:7], np.arange(7.0)) is None
    assert shares.mesh(np.vstack([square[:2]] * 10), np.arange(20.0)) is None
    line = np.linspace([0.1, 0.4], [0.7, 1.9], 20)
    assert shares.mesh(line, np.arange(20.0)) is None
