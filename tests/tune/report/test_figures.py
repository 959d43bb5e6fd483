"""Figures of a search against facts that don't come from them, and searches that show little."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import pyplot
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from compact_bench.report.parts import style
from compact_bench.report.parts.style import PALETTE, Picture
from compact_bench.tune.report import figures
from compact_bench.tune.trials import (
    COMPLETE,
    FAILED,
    PRUNED,
    Hyperparameter,
    Search,
    Study,
    Trial,
    write,
)
from tests.synthetic_search import (
    FLOOR,
    MIX,
    RATE,
    SHARES,
    SPACE,
    SUITE,
    TEMPERATURE,
    bowl,
    made,
    names,
    study,
    with_state,
)

FINITE = st.floats(-1e6, 1e6)


@pytest.fixture(scope="module")
def pictures(search: Search) -> dict[str, Picture]:
    return {picture.name: picture for picture in figures.build(search)}


def drawn(one: Study, kind: str) -> Figure:
    """One figure of a study."""
    with figures.drawing():
        made_here = figures.MAKERS[kind](one)
    assert made_here is not None
    return made_here[0]


def marked(figure: Figure, label: str) -> list[tuple[float, float]]:
    """Where markers of a label are, over all panels."""
    return [
        (line.get_xdata()[0], line.get_ydata()[0])
        for axis in figure.axes
        for line in axis.lines
        if line.get_label() == label
    ]


def test_which_figures_there_are(pictures: dict[str, Picture]) -> None:
    assert list(pictures) == [
        "tune_history_ours", "tune_importance_ours", "tune_slice_ours", "tune_contour_ours",
        "tune_ternary_ours", "tune_reports_ours", "tune_history_plain_x_1", "tune_slice_plain_x_1",
    ]  # fmt: skip


def test_another_process_makes_the_same_bytes_without_torch(
    search: Search, pictures: dict[str, Picture], tmp_path: Path
) -> None:
    write(tmp_path, search)
    code = (
        "import sys; from pathlib import Path\n"
        "from compact_bench.report.parts.style import write\n"
        "from compact_bench.tune import trials\n"
        "from compact_bench.tune.report import figures\n"
        "assert 'optuna' not in sys.modules\n"
        "folder = Path(sys.argv[1]); pictures = figures.build(trials.read(folder))\n"
        "write(pictures, folder, ['svg', 'png'])\n"
        "assert 'torch' not in sys.modules"
    )
    root = str(Path(figures.__file__).parents[3])  # conftest has the stubs there instead
    environment = os.environ | {"PYTHONPATH": root, "PYTHONHASHSEED": "12345", "TZ": "Asia/Tokyo"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        check=True,
        env=environment,
        timeout=120,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    for picture in pictures.values():
        for ending in ("svg", "png"):
            written = (tmp_path / f"{picture.name}.{ending}").read_bytes()
            assert written == picture.content[ending], picture.name


def test_the_users_own_style_and_figures_are_left_alone() -> None:
    before = dict(matplotlib.rcParams)
    own = pyplot.figure()
    names(made(bowl, 8))
    assert dict(matplotlib.rcParams) == before
    assert pyplot.get_fignums() == [own.number]
    pyplot.close(own)


def test_pictures_can_be_written_as_those_of_results(
    pictures: dict[str, Picture], tmp_path: Path
) -> None:
    paths = style.write(pictures.values(), tmp_path)
    assert len(paths) == len(pictures) + 1
    written = (tmp_path / "captions.md").read_text("utf-8")
    assert [line.split("**")[1] for line in written.splitlines() if line] == list(pictures)


@given(st.lists(st.text(max_size=12), min_size=1, max_size=8))
def test_names_of_files_are_safe_and_differ(labels: list[str]) -> None:
    slugs = figures.slugs(labels)
    assert len({slug.casefold() for slug in slugs}) == len(labels)
    assert all(slug and slug.isascii() and slug.replace("_", "a").isalnum() for slug in slugs)


# --- studies of Optuna's ------------------------------------------------------------------------


@given(st.lists(FINITE, min_size=1, max_size=40), st.sampled_from([1, -1]))
def test_bounds_hold_the_best_and_the_middle_half(values: list[float], better: int) -> None:
    array = np.array(values)
    low, high = figures.bounds(values, better)
    assert low <= better * max(better * array) <= high
    first, third = np.quantile(array, [0.25, 0.75], method="nearest")
    assert low <= first <= third <= high
    assert {low, high} <= set(values)


@pytest.mark.parametrize(("objective", "worst"), [("marginal_nll", 9.0), ("accuracy", -9.0)])
def test_only_values_worse_by_far_are_cut(objective: str, worst: float) -> None:
    values = [0.5, *np.linspace(0.4, 0.6, 20), -worst, worst]
    one = replace(study((FLOOR,), [(v,) for v in values]), objectives=(objective,))
    unit = 100 if objective == "accuracy" else 1
    shown = figures.values_of(one)
    assert shown[-2] == unit * -worst  # better by far
    assert shown[-1] == pytest.approx(unit * (0.6 if worst > 0 else 0.4))
    assert shown[:-2] == pytest.approx(unit * np.array(values[:-2]))


def test_a_study_that_is_rebuilt_has_the_same_trials() -> None:
    one = made(bowl, 8, (RATE, *SHARES, TEMPERATURE))
    one = with_state(one, 3, PRUNED, reports=((20, 2.5), (40, 2.25)))
    one = with_state(one, 5, FAILED)
    one = replace(one, trials=(*one.trials[:2], *one.trials[3:]))  # as one that was given back
    rebuilt = figures.rebuild(one)
    states = [trial.state.name for trial in rebuilt.trials]
    assert states == ["COMPLETE"] * 2 + ["FAIL", "PRUNED", "COMPLETE", "FAIL"] + ["COMPLETE"] * 2
    assert rebuilt.trials[3].intermediate_values == {20: 2.5, 40: 2.25}
    assert rebuilt.best_trial.number == one.best.number
    for trial in one.complete:
        same = rebuilt.trials[trial.number]
        assert same.value == trial.values[0]
        expected = {name.replace("_", " "): value for name, value in trial.settings.items()}
        assert same.params == expected
    logarithms = figures.rebuild(one, logarithms=True).trials[0].params["temperature"]
    assert logarithms == math.log(one.trials[0].settings["temperature"])


@pytest.mark.parametrize("hyperparameter", SPACE, ids=lambda one: one.name)
@pytest.mark.parametrize("better", ["accuracy", "marginal_nll"])
def test_the_one_that_alone_matters_is_the_most_important(
    hyperparameter: Hyperparameter, better: str
) -> None:
    one, sign = hyperparameter, 1 if better == "accuracy" else -1
    noise = np.random.default_rng(1)  # else one of three choices gives three values only

    def value(chosen: dict[str, float]) -> float:
        at, top = chosen[one.name], one.choices[-1] if one.choices else one.high
        part = math.log10(at) if one.log else at / (one.total if one.simplex else top)
        return sign * (part + 1e-3 * noise.normal())

    shares = figures.importances(replace(made(value, 100), objectives=(better,)))
    assert set(shares) == {figures.PED_ANOVA, figures.FANOVA}
    for evaluator, by_name in shares.items():
        assert max(by_name, key=by_name.__getitem__) == one.words, (evaluator, by_name)
        assert sum(by_name.values()) == pytest.approx(1)
        assert set(by_name) == {other.words for other in SPACE}


def test_low_decades_matter_on_a_logarithmic_scale() -> None:
    # On a linear axis 0.1 to 0.5 is 4% of the range; it is a third of the decades.
    def value(chosen: dict[str, float]) -> float:
        return min(math.log(chosen["temperature"] / 0.5), 0.0) + 0.2 * chosen["mix"]

    for by_name in figures.importances(made(value, 80, (TEMPERATURE, FLOOR, MIX))).values():
        assert by_name["temperature"] > 0.6


@pytest.mark.parametrize("objective", ["marginal_nll", "accuracy"])
def test_ped_anova_is_about_the_best_trials_and_not_the_worst(objective: str) -> None:
    sign = 1 if objective == "marginal_nll" else -1

    def value(chosen: dict[str, float]) -> float:
        # Only much of mix is good; what is bad without it depends on floor.
        return sign * ((-3.0 if chosen["mix"] > 0.8 else 0.0) + 4 * chosen["floor"])

    one = replace(made(value, 80, (FLOOR, MIX)), objectives=(objective,))
    by_name = figures.importances(one)[figures.PED_ANOVA]
    assert by_name["mix"] > by_name["floor"]


def test_a_diverged_trial_is_not_all_that_matters() -> None:
    one = made(lambda chosen: math.log10(chosen["temperature"]), 40, (TEMPERATURE, FLOOR, MIX))
    odd = max(one.trials, key=lambda trial: trial.settings["mix"]).number
    trials = list(one.trials)
    trials[odd] = replace(trials[odd], values=(1e4,))
    for by_name in figures.importances(replace(one, trials=tuple(trials))).values():
        assert by_name["temperature"] > 0.5


@pytest.mark.parametrize(
    "values",
    [[1.0, 2.0, 3.0], [1.0, 1.0, 2.0, 2.0, 3.0, 3.0], [5.0] * 10],
)
def test_too_few_trials_have_no_importance(values: list[float]) -> None:
    assert figures.importances(study(values=[(value,) for value in values])) == {}


def test_the_last_value_of_a_grid_may_be_rounded_up() -> None:
    one = made(bowl, 12)
    above = {**one.trials[0].settings, "temperature": math.nextafter(10.0, 11.0)}
    one = replace(one, trials=(replace(one.trials[0], settings=above), *one.trials[1:]))
    shares = figures.importances(one)
    assert len(shares) == 2
    assert all(np.isfinite([*by_name.values()]).all() for by_name in shares.values())


# --- what is drawn ------------------------------------------------------------------------------


@pytest.mark.parametrize(("objective", "best"), [("marginal_nll", min), ("accuracy", max)])
def test_history_draws_the_running_best_and_the_default(
    objective: str, best: Callable[..., float]
) -> None:
    values = [0.30, 0.35, 0.25, 0.28, 0.40, 0.38]
    one = replace(study(values=[(value,) for value in values]), objectives=(objective,))
    (axis,) = drawn(one, "history").axes
    unit = 100 if objective == "accuracy" else 1
    lines = {line.get_label(): line for line in axis.lines}
    steps = [unit * best(values[: i + 1]) for i in range(len(values))]
    assert np.asarray(lines["best so far"].get_ydata()) == pytest.approx(steps)
    assert lines["best so far"].get_drawstyle() == "steps-post"
    assert lines["default settings"].get_ydata()[0] == pytest.approx(unit * values[0])
    dots = np.asarray(axis.collections[0].get_offsets())
    assert dots == pytest.approx(np.array([[i, unit * v] for i, v in enumerate(values)]))


def test_a_first_trial_that_was_pruned_is_no_default() -> None:
    one = with_state(made(bowl, 10), 0, PRUNED, reports=((20, 2.0),))
    for kind in ("history", "slice", "contour", "ternary"):
        assert marked(drawn(one, kind), "default settings") == []


def test_reports_of_pruned_trials_stand_out() -> None:
    one = with_state(made(bowl, 10), 4, PRUNED, reports=((1, 3.0),))
    whole = replace(one.trials[5], reports=((1, 2.5), (2, 2.0)))
    one = replace(one, trials=(*one.trials[:5], whole, *one.trials[6:]))
    lines = {line.get_label(): line for line in drawn(one, "reports").axes[0].lines}
    assert lines["pruned"].get_xydata().tolist() == [[1, 3.0]]
    assert lines["complete"].get_xydata().tolist() == [[1, 2.5], [2, 2.0]]
    assert to_hex(lines["pruned"].get_color()) == PALETTE[1].lower()


def test_slices_mark_default_and_best_on_the_right_scale() -> None:
    one = study(values=[(2 - i / 10,) for i in range(12)])
    figure = drawn(one, "slice")
    by_label: dict[str, Any] = {axis.get_xlabel(): axis for axis in figure.axes}
    labels = [text.get_text() for text in by_label["learning rate"].get_xticklabels()]
    assert labels == ["0.00025", "0.0005", "0.001"]
    assert by_label["temperature"].get_xscale() == "log"
    assert by_label["mix"].get_xscale() == "linear"
    (axis,) = [axis for name, axis in by_label.items() if name == "mix"]
    lines = {line.get_label(): line.get_xydata().tolist() for line in axis.lines}
    assert lines["default settings"] == [[1.0, 2.0]]
    assert lines["best"] == [[one.trials[11].settings["mix"], pytest.approx(0.9)]]
    y = [axis.get_position().y0 for axis in by_label.values()]
    assert len(set(np.round(y[:7], 2))) == 2  # seven panels in two rows


def test_a_contour_is_over_the_two_that_matter_most_and_can_be() -> None:
    one = made(lambda s: 3 * s["beta_consensus"] + s["beta_difficulty"] + s["mix"] / 2, 60)
    axis = drawn(one, "contour").axes[0]
    assert {axis.get_xlabel(), axis.get_ylabel()} == {"beta consensus", "mix"}
    own = {"beta consensus": 1.0, "mix": 1.0}
    place = (own[axis.get_xlabel()], own[axis.get_ylabel()])
    assert marked(drawn(one, "contour"), "default settings") == [place]


def test_the_triangle_draws_each_trial_at_its_shares() -> None:
    one = made(bowl, 15)
    figure = drawn(one, "ternary")
    axis: Any = figure.axes[0]
    dots = next(item for item in axis.collections if len(item.get_offsets()) == 15)
    # Of an equilateral triangle with its top in the middle: x = right + top / 2, y = top * height.
    top, right = ("beta_adaptability", "beta_difficulty")
    places = [
        ((t.settings[right] + t.settings[top] / 2) / 2.5, t.settings[top] / 2.5) for t in one.trials
    ]
    expected = np.array(places)
    found = np.asarray(dots.get_offsets())
    slope = np.polyfit(expected[:, 0], found[:, 0], 1, full=True)
    assert slope[1] == pytest.approx(0, abs=1e-12)  # the same places but for scale and origin
    titles = [axis.get_tlabel(), axis.get_llabel(), axis.get_rlabel()]
    assert titles == ["beta adaptability, %", "beta consensus, %", "beta difficulty, %"]


def test_pareto_is_of_two_objectives_and_marks_the_front() -> None:
    assert "tune_pareto_ours" not in names(study((FLOOR,), [(2.0,), (1.8,)]))
    values = [(2.0, 0.5), (1.8, 0.4), (2.2, 0.3)]
    both = study((FLOOR,), values, objectives=("marginal_nll", "old_accuracy"))
    (axis,) = drawn(both, "pareto").axes
    assert axis.get_xlabel() == "answer NLL, nats (less is better)"
    dots = {one.get_label(): np.asarray(one.get_offsets()).tolist() for one in axis.collections}
    assert sorted(dots["front"]) == [[1.8, 40.0], [2.0, 50.0]]
    assert dots["trial"] == [[2.2, 30.0]]
    assert marked(axis.figure, "default settings") == [(2.0, 50.0)]


SAME = {one.name: one.default for one in SPACE}
WHOLE = ["history", "importance", "slice", "contour", "ternary"]

EDGES: dict[str, tuple[Study, list[str]]] = {
    "no trial": (study(), []),
    "one trial": (study(values=[(1.5,)]), ["history", "slice", "ternary"]),
    "only failed": (with_state(study(values=[(1.5,)]), 0, FAILED), []),
    "only pruned": (
        with_state(study(values=[(1.5,)]), 0, PRUNED, reports=((5, 2.0),)),
        ["reports"],
    ),
    "pruned without a report": (with_state(study(values=[(1.5,)]), 0, PRUNED), []),
    "the same settings": (
        replace(study(), trials=tuple(Trial(i, COMPLETE, SAME, (1.0 + i,)) for i in range(20))),
        WHOLE,
    ),
    "the same value": (study(values=[(2.0,)] * 20), ["history", "slice", "ternary"]),
    "two shares": (
        study(SHARES[:2], [(1.0 + i,) for i in range(12)]),
        ["history", "importance", "slice"],
    ),
    "zero and negative values": (
        study((FLOOR, MIX), [(0.0,), (-1e-9,), (1e9,), (2.0,), (3.0,)]),
        ["history", "importance", "slice", "contour"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", EDGES)
def test_a_search_with_little_in_it_has_the_figures_that_it_allows(case: str) -> None:
    one, kinds = EDGES[case]
    other = replace(study((RATE,), [(1.0,), (2.0,)]), label="other")
    pictures = figures.build(Search(SUITE, (one, other)))
    expected = [f"tune_{kind}_ours" for kind in kinds]
    # Beside another study nothing is lost, and both have pictures of their own.
    assert [p.name for p in pictures] == [*expected, "tune_history_other", "tune_slice_other"]
    assert all(picture.content["svg"] for picture in pictures[: len(expected)])


def test_no_study_has_no_figure() -> None:
    assert figures.build(Search(SUITE, ())) == []
