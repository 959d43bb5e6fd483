"""Reasoning against old skill kept: what the figures draw is what the records hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from compact_bench.analysis.forgetting import (
    SCALE,
    mean_path,
    path,
)
from compact_bench.analysis.results import Results, read
from compact_bench.report.figures import retention
from tests import synthetic
from tests.from_files import per_item
from tests.synthetic import BEFORE, Made

OLD = [task for task in BEFORE if task != "in_domain"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Made(evidence=True, items=80, steps=2)
    return synthetic.make(tmp_path_factory.mktemp("results"), made)


@pytest.fixture(scope="module")
def results(root: Path) -> Results:
    return read(root)


def test_the_figure_draws_the_mean_paths(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Figure] = []
    monkeypatch.setattr(retention, "Rendering", lambda f: kept.append(f) or {})
    assert retention.retention_curves(results) is not None
    rows = [row for row in results.rows if row.trained]
    assert [axis.get_title(loc="left") for axis in kept[0].axes] == [row.label for row in rows]
    for axis, row in zip(kept[0].axes, rows, strict=True):
        drawn = {
            tuple(np.round(line.get_ydata(), 9)) for line in axis.lines if len(line.get_xdata()) > 2
        }
        for label in {row.label, "average"}:
            other = results.named(label)
            assert other is not None
            points = mean_path(path(results, other, SCALE))
            assert tuple(np.round([100 * one.retention for one in points], 9)) in drawn


@pytest.mark.parametrize("gone", ["base", "average"])
def test_curves_need_the_untrained_student_and_no_reference(tmp_path: Path, gone: str) -> None:
    labels = tuple(label for label in ("base", "average", "compact") if label != gone)
    made = Made(evidence=True, items=12, steps=1, labels=labels)
    found = read(synthetic.make(tmp_path, made))
    assert (retention.retention_curves(found) is None) == (gone == "base")


def test_the_tradeoff_has_a_point_for_each_row_and_seed(
    root: Path, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Figure] = []
    monkeypatch.setattr(retention, "Rendering", lambda f: kept.append(f) or {})
    assert retention.tradeoff(results) is not None
    mean, *axes = kept[0].axes
    assert mean.get_title(loc="left") == "mean over forgetting tasks"
    assert len(axes) == len(OLD)
    place = [axis.get_title(loc="left") for axis in axes].index("mini one step")
    drawn = np.vstack([points.get_xydata() for points in axes[place].lines])
    before = per_item(root, "base", "mini_one_step").mean()
    for label in ("compact", "answer_sft"):
        reasoning = per_item(root, label, "in_domain").mean(1)
        share = per_item(root, label, "mini_one_step").mean(1) / before
        for point in (*zip(reasoning, share, strict=True), (reasoning.mean(), share.mean())):
            assert np.isclose(drawn, 100 * np.array(point)).all(1).any(), (label, point)


def test_with_conditions_there_is_no_tradeoff(tmp_path: Path) -> None:
    """There would be too many points to tell apart."""
    conditions = ({"name": "a", "data": {}}, {"name": "b", "data": {}})
    made = Made(scored=True, items=4, seeds=(0,), labels=("base", "average"), conditions=conditions)
    assert retention.tradeoff(read(synthetic.make(tmp_path, made))) is None
