"""The front against brute force, and the axes that it is drawn on."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from compact_bench.tune.report import fronts
from compact_bench.tune.trials import Search
from tests.synthetic_search import FLOOR, SUITE, bowl, made, names, study


def beaten(own: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether other is better for (less NLL, more accuracy)."""
    return other != own and other[0] <= own[0] and other[1] >= own[1]


@given(
    st.lists(
        st.tuples(st.integers(0, 6).map(float), st.integers(0, 6).map(lambda i: i / 8)),
        min_size=1,
        max_size=20,
    )
)
@settings(deadline=None)
def test_the_front_is_what_brute_force_finds(values: list[tuple[float, float]]) -> None:
    one = study((FLOOR,), values, objectives=("marginal_nll", "accuracy"))
    expected = {v for v in values if not any(beaten(v, other) for other in values)}
    found = fronts.front_points(one)
    assert found.tolist() == sorted([v[0], 100 * v[1]] for v in expected)


def test_pareto_is_of_two_objectives_only(seen: list[Figure]) -> None:
    both = study((FLOOR,), [(2.0, 0.5), (1.8, 0.4), (2.2, 0.3)], objectives=("marginal_nll",
                 "old_accuracy"))  # fmt: skip
    assert "tune_pareto" in names(both)
    assert "tune_pareto" not in names(study((FLOOR,), [(2.0,), (1.8,)]))
    picture = fronts.pareto(Search(SUITE, (both, made(bowl, 5))))
    assert picture is not None and "ours 3 (3 complete)" in str(picture.caption)
    axis = seen[-1].axes[0]
    assert axis.get_xlabel() == "answer NLL, nats (better →)"
    assert axis.get_xlim()[0] > axis.get_xlim()[1]  # less is better, and right
    assert axis.get_ylim()[0] < axis.get_ylim()[1]
    front = next(line for line in axis.lines if line.get_drawstyle() == "steps-post")
    assert front.get_xydata().tolist() == [[1.8, 40.0], [2.0, 50.0]]
