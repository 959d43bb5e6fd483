"""Figures of a search against facts that don't come from them, and searches that show little."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from compact_bench import figures as results_figures
from compact_bench.drawing import Picture
from compact_bench.tune import figures, fronts, importance, panels, shares, triangle
from compact_bench.tune.trials import (
    COMPLETE,
    FAILED,
    PRUNED,
    Knob,
    Search,
    Study,
    Trial,
    write,
)

NAN = float("nan")
RATE = Knob("learning_rate", 5e-4, choices=(2.5e-4, 5e-4, 1e-3))
SHARES = tuple(
    Knob(f"beta_{name}", default, simplex="beta", total=2.5)
    for name, default in (("adaptability", 1.0), ("consensus", 1.0), ("difficulty", 0.5))
)
TEMPERATURE = Knob("temperature", 1.0, 0.1, 10.0, log=True)
FLOOR, MIX = Knob("floor", 0.0, 0.0, 0.5), Knob("mix", 1.0, 0.0, 1.0)
KNOBS = (RATE, *SHARES, TEMPERATURE, FLOOR, MIX)
SUITE = {
    "suite": "gsm8k", "profile": "mini", "title": "Which teacher?", "limit": None,
    "student": {"id": "nano", "dtype": "float32", "lora": None},
    "data": {"source": "mini", "teachers": ["terse", "sentences"], "train": 400},
    "notes": "generated problems, nano student: not the data set's numbers",
}  # fmt: skip
FINITE = st.floats(-1e6, 1e6)


def drawn(knobs: Sequence[Knob], count: int, seed: int = 0) -> list[dict[str, float]]:
    """Settings as a random search would try them, the defaults first."""
    draw = np.random.default_rng(seed)
    found = [{knob.name: knob.default for knob in knobs}]
    for _ in range(count - 1):
        weights = dict(zip(SHARES, draw.dirichlet([1, 1, 1]), strict=True))
        one = {}
        for knob in knobs:
            if knob.simplex:
                one[knob.name] = float(2.5 * weights[knob])
            elif knob.choices:
                one[knob.name] = float(draw.choice(knob.choices))
            elif knob.log:
                one[knob.name] = math.exp(draw.uniform(math.log(knob.low), math.log(knob.high)))
            else:
                one[knob.name] = float(draw.uniform(knob.low, knob.high))
        found.append(one)
    return found[:count]


def study(
    knobs: Sequence[Knob] = KNOBS,
    values: Sequence[tuple[float, ...]] = (),
    label: str = "ours",
    objectives: tuple[str, ...] = ("marginal_nll",),
) -> Study:
    """A study whose complete trials have these values."""
    trials = [
        Trial(number, COMPLETE, chosen, tuple(value))
        for number, (chosen, value) in enumerate(
            zip(drawn(knobs, len(values)), values, strict=True)
        )
    ]
    return Study(
        label, "m", objectives, "TPE", "median", 7, (0, 1), tuple(knobs), tuple(trials)
    )  # fmt: skip


def made(
    of: Callable[[dict[str, float]], float], count: int = 60, knobs: Sequence[Knob] = KNOBS
) -> Study:
    """A study whose first objective is a function of the settings."""
    return study(knobs, [(of(chosen),) for chosen in drawn(knobs, count)])


def bowl(chosen: dict[str, float]) -> float:
    """A value that has its best in the midst of the shares."""
    return 1.6 + sum((chosen[knob.name] - 0.8) ** 2 for knob in SHARES)


def names(*studies: Study) -> list[str]:
    return [picture.name for picture in figures.build(Search(SUITE, studies))]


def with_state(one: Study, number: int, state: str, **changes: object) -> Study:
    trials = list(one.trials)
    trials[number] = replace(trials[number], state=state, values=(), **changes)
    return replace(one, trials=tuple(trials))


@pytest.fixture(scope="module")
def search() -> Search:
    """Two studies, one with pruned, failed and diverged trials, the other with a single knob."""
    ours = made(bowl, 20)
    ours = with_state(ours, 5, PRUNED, reports=((20, 2.5), (40, 2.2)))
    ours = with_state(ours, 6, FAILED, reason="out of memory")
    diverged = replace(ours.trials[7], values=(900.0,))
    ours = replace(ours, trials=(*ours.trials[:7], diverged, *ours.trials[8:]))
    plain = study((RATE,), [(1.7 - 0.01 * i,) for i in range(6)], label="plain [x=1]")
    return Search(SUITE, (ours, plain), ("the dev split has 120 questions",))


@pytest.fixture(scope="module")
def pictures(search: Search) -> dict[str, Picture]:
    return {picture.name: picture for picture in figures.build(search)}


def keep_figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Have figures kept here and not written."""
    found: list[Figure] = []

    def keep(figure: Figure) -> dict[str, bytes]:
        found.append(figure)
        return {"svg": b""}

    for module in (figures, fronts, importance, shares):
        monkeypatch.setattr(module, "render", keep)
    return found


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Figures that would be written, to look into instead."""
    return keep_figures(monkeypatch)


def test_which_figures_there_are(pictures: dict[str, Picture]) -> None:
    assert list(pictures) == [
        "tune_history", "tune_importance", "tune_slice_ours", "tune_slice_plain_x_1",
        "tune_contour_ours", "tune_ternary",
    ]  # fmt: skip


def test_another_process_makes_the_same_bytes_without_torch(
    search: Search, pictures: dict[str, Picture], tmp_path: Path
) -> None:
    write(tmp_path, search)
    code = (
        "import sys; from pathlib import Path\n"
        "from compact_bench.figures import write\n"
        "from compact_bench.tune import figures, trials\n"
        "assert 'optuna' not in sys.modules\n"
        "folder = Path(sys.argv[1]); write(figures.build(trials.read(folder)), folder)\n"
        "assert 'torch' not in sys.modules"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "TZ": "Asia/Tokyo"}
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(
        command, check=True, env=environment, timeout=120, capture_output=True, text=True
    )
    assert "study created" not in done.stderr
    for picture in pictures.values():
        assert set(picture.content) == {"svg", "pdf", "png"}
        for ending, content in picture.content.items():
            assert (tmp_path / f"{picture.name}.{ending}").read_bytes() == content, picture.name


def test_captions_say_what_a_figure_is_made_from(pictures: dict[str, Picture]) -> None:
    for name, picture in pictures.items():
        text = str(picture.caption)
        for fact in (
            "suite gsm8k, profile mini", "dev split", "answer NLL, nats (less is better)",
            "sampler TPE", "pruner median", "training seeds 0, 1", "not the data set's numbers",
            "the dev split has 120 questions",
        ):  # fmt: skip
            assert fact.lower() in text.lower(), (name, fact)
        ours = "ours 20 (18 complete, 1 failed, 1 pruned)" in text
        assert ours == (name != "tune_slice_plain_x_1"), name
    assert "rough" in str(pictures["tune_importance"].caption)
    assert "Not shown, for a single knob" in str(pictures["tune_importance"].caption)


@pytest.mark.parametrize("knob", KNOBS, ids=lambda knob: knob.name)
@pytest.mark.parametrize("better", ["accuracy", "marginal_nll"])
def test_the_knob_that_alone_matters_is_the_most_important(knob: Knob, better: str) -> None:
    sign = 1 if better == "accuracy" else -1
    noise = np.random.default_rng(1)  # else a knob of three choices gives three values only

    def value(chosen: dict[str, float]) -> float:
        at, top = chosen[knob.name], knob.choices[-1] if knob.choices else knob.high
        part = math.log10(at) if knob.log else at / (knob.total if knob.simplex else top)
        return sign * (part + 1e-3 * noise.normal())

    found = importance.importances(replace(made(value, 100), objectives=(better,)))
    assert set(found) == {importance.PED_ANOVA, importance.FANOVA}
    for kind, by_knob in found.items():
        assert max(by_knob, key=by_knob.__getitem__) == knob.name, (kind, by_knob)
        assert sum(by_knob.values()) == pytest.approx(1)
        assert set(by_knob) == {one.name for one in KNOBS}


def test_a_logarithmic_knob_matters_where_only_its_low_decades_do() -> None:
    # On a linear axis 0.1 to 0.5 is 4% of the range; it is a third of the decades.
    found = importance.importances(
        made(lambda chosen: float(chosen["temperature"] < 0.5), 80, (TEMPERATURE, FLOOR, MIX))
    )
    assert found == {}  # two different values are too few

    def value(chosen: dict[str, float]) -> float:
        return min(math.log(chosen["temperature"] / 0.5), 0.0) + 0.2 * chosen["mix"]

    found = importance.importances(made(value, 80, (TEMPERATURE, FLOOR, MIX)))
    for by_knob in found.values():
        assert by_knob["temperature"] > 0.6


def test_a_diverged_trial_is_not_all_that_matters() -> None:
    knobs = (TEMPERATURE, FLOOR, MIX)
    one = made(lambda chosen: math.log10(chosen["temperature"]), 40, knobs)
    odd = max(one.trials, key=lambda trial: trial.settings["mix"]).number
    trials = list(one.trials)
    trials[odd] = replace(trials[odd], values=(1e4,))
    found = importance.importances(replace(one, trials=tuple(trials)))
    for by_knob in found.values():
        assert by_knob["temperature"] > 0.5


@pytest.mark.parametrize(
    "values",
    [[1.0, 2.0, 3.0], [1.0, 1.0, 2.0, 2.0, 3.0, 3.0], [1.0, NAN, NAN, 2.0, 3.0], [5.0] * 10],
)
def test_too_few_trials_have_no_importance(values: list[float]) -> None:
    one = study(values=[(value,) for value in values])
    assert importance.importances(one) == {}
    assert "tune_importance" not in names(one)


def test_settings_outside_the_searched_range_have_an_importance() -> None:
    one = made(bowl, 12)
    outside = {**one.trials[0].settings, "floor": 0.9, "learning_rate": 3e-3}
    one = replace(one, trials=(replace(one.trials[0], settings=outside), *one.trials[1:]))
    found = importance.importances(one)
    assert all(np.isfinite([*by_knob.values()]).all() for by_knob in found.values())
    assert len(found) == 2


@given(st.lists(FINITE, min_size=1, max_size=30), st.sampled_from([1, -1]))
def test_running_best_is_the_best_of_all_before(values: list[float], better: int) -> None:
    pick = max if better > 0 else min
    expected = [pick(values[: i + 1]) for i in range(len(values))]
    assert figures.running_best(np.array(values), better).tolist() == expected


@pytest.mark.parametrize(("objective", "best"), [("marginal_nll", min), ("accuracy", max)])
def test_history_draws_the_running_best_and_the_default(
    seen: list[Figure], objective: str, best: Callable[..., float]
) -> None:
    values = [0.30, 0.35, 0.25, 0.28, 0.40, 0.38]
    one = replace(study(values=[(value,) for value in values]), objectives=(objective,))
    figures.history(Search(SUITE, (one,)))
    unit = 100 if objective == "accuracy" else 1
    lines = {line.get_drawstyle(): line for line in seen[0].axes[0].lines}
    steps = [unit * best(values[: i + 1]) for i in range(len(values))]
    assert np.asarray(lines["steps-post"].get_ydata()) == pytest.approx([*steps, steps[-1]])
    dashed = [line for line in seen[0].axes[0].lines if line.get_linestyle() == "--"]
    assert [line.get_ydata()[0] for line in dashed] == pytest.approx([unit * values[0]])


def test_pruned_trials_are_hollow_and_at_their_last_report(seen: list[Figure]) -> None:
    one = made(bowl, 10)
    inside = one.trials[3].values[0]
    one = with_state(one, 4, PRUNED, reports=((20, 50.0), (40, inside)))
    figures.history(Search(SUITE, (one,)))
    hollow = [
        line for line in seen[0].axes[0].lines
        if line.get_markerfacecolor() == "none" and len(line.get_xdata())
    ]  # fmt: skip
    assert [(line.get_xdata().tolist(), line.get_ydata().tolist()) for line in hollow] == [
        ([4.0], [pytest.approx(inside)])
    ]


def test_a_first_trial_that_was_pruned_is_no_default(seen: list[Figure]) -> None:
    one = with_state(made(bowl, 10), 0, PRUNED, reports=((20, 2.0),))
    figures.history(Search(SUITE, (one,)))
    assert not [line for line in seen[0].axes[0].lines if line.get_linestyle() == "--"]
    assert panels.default_of(one) is None


def test_a_diverged_trial_doesn_t_set_the_limits(seen: list[Figure], search: Search) -> None:
    figures.history(search)
    low, high = seen[0].axes[0].get_ylim()
    ours = search.studies[0]
    others = sorted(trial.values[0] for trial in ours.complete)[:-1]
    assert low < others[0] and others[len(others) * 3 // 4] < high < 10
    edge = [line for line in seen[0].axes[0].lines if line.get_marker() == "^"]
    assert 7 in [x for line in edge for x in line.get_xdata()]


@pytest.mark.parametrize(("objective", "worst"), [("marginal_nll", 9.0), ("accuracy", -9.0)])
def test_the_best_and_the_default_are_always_within_limits(objective: str, worst: float) -> None:
    values = [0.0, *np.linspace(0.4, 0.6, 20), -worst, worst]
    one = replace(study((FLOOR,), [(v,) for v in values]), objectives=(objective,))
    scale = 100 if objective == "accuracy" else 1
    ends = sorted(scale * end for end in (-worst, 0.6 if objective == "marginal_nll" else 0.0))
    assert panels.extent(one) == pytest.approx(ends)


@given(st.lists(FINITE, min_size=1, max_size=40), st.sampled_from([1, -1]))
def test_bounds_are_wide_and_hold_the_middle_half(values: list[float], better: int) -> None:
    found = np.array(values)
    low, high = panels.bounds(found, better)
    assert low <= better * max(better * found) <= high  # the best
    first, third = np.quantile(found, [0.25, 0.75], method="nearest")
    assert low < high
    assert low <= first <= third <= high
    assert high - low <= max(np.ptp(found), 0.1 * abs(found[0]), 1.0) * (1 + 1e-9)


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


def test_slices_put_choices_in_order_and_logarithms_on_a_scale(seen: list[Figure]) -> None:
    one = study(values=[(1 + i / 10,) for i in range(12)])
    figures.slices(Search(SUITE, (one,)))
    by_label = {axis.get_xlabel(): axis for axis in seen[0].axes}
    rate = by_label["learning rate"]
    assert [text.get_text() for text in rate.get_xticklabels()] == ["2.5e-4", "5e-4", "1e-3"]
    dots = next(item for item in rate.collections if len(item.get_offsets()) == 12)
    order = [RATE.choices.index(trial.settings["learning_rate"]) for trial in one.trials]
    assert np.round(np.asarray(dots.get_offsets())[:, 0]).tolist() == order
    assert by_label["temperature"].get_xscale() == "log"
    assert by_label["mix"].get_xscale() == "linear"


SAME = {knob.name: knob.default for knob in KNOBS}
EDGES: dict[str, tuple[Study, list[str]]] = {
    "no trial": (study(), []),
    "one trial": (
        study(values=[(1.5,)]),
        ["tune_history", "tune_slice_ours", "tune_contour_ours", "tune_ternary"],
    ),
    "only failed": (with_state(study(values=[(1.5,)]), 0, FAILED), []),
    "only pruned": (
        with_state(study(values=[(1.5,)]), 0, PRUNED, reports=((5, 2.0),)),
        ["tune_history"],
    ),
    "pruned without a report": (with_state(study(values=[(1.5,)]), 0, PRUNED), []),
    "only NaN": (study(values=[(NAN,), (NAN,)]), []),
    "infinite": (study((RATE,), [(math.inf,), (1.0,)]), ["tune_history", "tune_slice_ours"]),
    "the same settings": (
        replace(study(), trials=tuple(Trial(i, COMPLETE, SAME, (1.0 + i,)) for i in range(20))),
        ["tune_history", "tune_importance", "tune_slice_ours", "tune_contour_ours",
         "tune_ternary"],
    ),
    "the same value": (
        study(values=[(2.0,)] * 20),
        ["tune_history", "tune_slice_ours", "tune_contour_ours", "tune_ternary"],
    ),
    "settings missing": (
        replace(study(), trials=tuple(Trial(i, COMPLETE, {"mix": NAN}, (1.0 + i,))
                                      for i in range(5))),
        ["tune_history", "tune_slice_ours"],
    ),
    "two shares": (
        study(SHARES[:2], [(1.0 + i,) for i in range(12)]),
        ["tune_history", "tune_importance", "tune_slice_ours", "tune_contour_ours"],
    ),
    "zero and negative values": (
        study((FLOOR, MIX), [(0.0,), (-1e-9,), (1e9,), (2.0,), (3.0,)]),
        ["tune_history", "tune_importance", "tune_slice_ours"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", EDGES)
def test_a_search_with_little_in_it_has_the_figures_that_it_allows(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, expected = EDGES[case]
    assert names(one) == expected
    keep_figures(monkeypatch)
    # Beside another study nothing is lost, and both have pictures of their own.
    other = replace(study((RATE,), [(1.0,), (2.0,)]), label="other")
    both = names(one, other)
    assert {"tune_history", "tune_slice_other", *expected} == set(both)


def test_a_search_that_isn_t_over_says_so() -> None:
    one = study((FLOOR,), [(1.0,), (2.0,)])
    texts = [str(figures.build(Search(SUITE, (replace(one, over=over),)))[0].caption)
             for over in (True, False)]  # fmt: skip
    assert ["ours 2 (2 complete, not over)" in text for text in texts] == [False, True]


def test_no_study_has_no_figure() -> None:
    assert figures.build(Search(SUITE, ())) == []


@given(st.lists(st.text(max_size=12), min_size=1, max_size=8))
def test_names_of_files_are_safe_and_differ(labels: list[str]) -> None:
    found = panels.slugs(labels)
    assert len({slug.casefold() for slug in found}) == len(labels)
    assert all(slug and slug.isascii() and slug.replace("_", "a").isalnum() for slug in found)


def test_pictures_can_be_written_as_those_of_results(
    pictures: dict[str, Picture], tmp_path: Path
) -> None:
    paths = results_figures.write(pictures.values(), tmp_path)
    assert len(paths) == 3 * len(pictures) + 1
    written = (tmp_path / "captions.md").read_text("utf-8")
    assert [line.split("**")[1] for line in written.splitlines() if line] == list(pictures)
