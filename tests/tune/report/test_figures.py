"""Figures of a search against facts that don't come from them, and searches that show little."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from compact_bench.report import figures as results_figures
from compact_bench.report.parts.style import Picture
from compact_bench.tune.report import figures, panels
from compact_bench.tune.trials import COMPLETE, FAILED, PRUNED, Search, Study, Trial, write
from tests.synthetic_search import (
    FLOOR,
    KNOBS,
    MIX,
    NAN,
    RATE,
    SHARES,
    SUITE,
    bowl,
    keep_figures,
    made,
    names,
    study,
    with_state,
)

FINITE = st.floats(-1e6, 1e6)


@pytest.fixture(scope="module")
def pictures(search: Search) -> dict[str, Picture]:
    return {picture.name: picture for picture in figures.build(search)}


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
        "from compact_bench.report.figures import write\n"
        "from compact_bench.tune import trials\n"
        "from compact_bench.tune.report import figures\n"
        "assert 'optuna' not in sys.modules\n"
        "folder = Path(sys.argv[1]); pictures = figures.build(trials.read(folder))\n"
        "write(pictures, folder, ['svg', 'png'])\n"
        "assert 'torch' not in sys.modules"
    )
    root = str(Path(figures.__file__).parents[3])  # conftest has the stubs there instead
    environment = os.environ | {"PYTHONPATH": root, "PYTHONHASHSEED": "12345", "TZ": "Asia/Tokyo"}
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(
        command,
        check=True,
        env=environment,
        timeout=120,
        capture_output=True,
        text=True,
    )
    assert "study created" not in done.stderr
    for picture in pictures.values():
        assert set(picture.content) == {"svg", "pdf", "png"}
        for ending in ("svg", "png"):
            drawn = (tmp_path / f"{picture.name}.{ending}").read_bytes()
            assert drawn == picture.content[ending], picture.name


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


def test_pictures_can_be_written_as_those_of_results(
    pictures: dict[str, Picture], tmp_path: Path
) -> None:
    paths = results_figures.write(pictures.values(), tmp_path)
    assert len(paths) == len(pictures) + 1
    written = (tmp_path / "captions.md").read_text("utf-8")
    assert [line.split("**")[1] for line in written.splitlines() if line] == list(pictures)
