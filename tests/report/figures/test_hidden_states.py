"""Figures of hidden states draw the means over seeds, and the prompts of each row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.decomposition import PCA

from compact_bench.analysis import hidden_states
from compact_bench.analysis.results import Results, read
from compact_bench.records.cells import Cell, read_cells
from compact_bench.report.figures import hidden_states as figures
from tests import synthetic, synthetic_latent
from tests.synthetic import Made

LABELS = ("base", "single_teacher[equations]", "single_teacher[terse]", "average", "compact")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Made(latent=True, steps=2, labels=LABELS, states={("compact", 1): ("failed", "broke")})
    return synthetic.make(tmp_path_factory.mktemp("latent"), made)


@pytest.fixture(scope="module")
def results(root: Path) -> Results:
    return read(root)


@pytest.fixture(scope="module")
def cells(root: Path) -> dict[tuple[str, int | None], Cell]:
    return {(cell.spec["label"], cell.spec["seed"]): cell for cell in read_cells(root)}


def states(cell: Cell, kind: str, layer: int) -> np.ndarray:
    frame = cell.frame("latent")
    chosen = frame[(frame["kind"] == kind) & (frame["layer"] == layer)]
    return np.stack(chosen.sort_values(["task", "question_id"])["values"].to_list())


def drawn(monkeypatch: pytest.MonkeyPatch, maker, results: Results) -> Figure:
    """The figure before it is rendered."""
    kept: list[Figure] = []
    monkeypatch.setattr(figures, "Rendering", lambda figure: kept.append(figure) or {})
    assert maker(results) is not None
    return kept[0]


def test_the_map_shows_the_reference_and_the_range_of_drifts(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = figures.chosen(results, hidden_states.state_stats(results))
    assert rows[0] is results.reference and len(rows) == min(figures.MOST_MAPS, 4)
    assert len({row.label for row in rows}) == len(rows)
    axes = drawn(monkeypatch, figures.latent_map, results).axes
    assert [axis.get_title(loc="left") for axis in axes] == [row.label for row in rows]


def test_the_map_draws_every_prompt_on_the_components_of_the_base(
    results: Results, cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    axis = drawn(monkeypatch, figures.latent_map, results).axes[0]
    before, after = (states(cells[key], "student", 8) for key in (("base", None), ("average", 0)))
    components = PCA(2, svd_solver="full").fit(before)
    start, *ends = [line.get_xydata() for line in axis.lines if len(line.get_xydata())]
    ends = np.vstack(ends)
    for shown, values in ((start, before), (ends, after)):
        expected = components.transform(values)
        # A component has no sign, and a task's prompts are drawn together.
        np.testing.assert_allclose(
            np.sort(np.abs(shown), axis=0), np.sort(np.abs(expected), axis=0), rtol=1e-4, atol=1e-3
        )


def test_the_line_of_a_row_is_its_mean_drift_by_layer(
    results: Results, cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = list(synthetic_latent.LAYERS)
    by_layer = drawn(monkeypatch, figures.latent, results).axes[1]
    lines = [line.get_ydata() for line in by_layer.lines]
    expected = [
        np.mean([
            float(hidden_states.drift(states(cells["compact", seed], "student", layer),
                                      states(cells["base", None], "student", layer)))
            for seed in (0, 2)  # seed 1 failed
        ])
        for layer in layers
    ]  # fmt: skip
    assert any(len(y) == len(layers) and np.allclose(y, expected, atol=1e-5) for y in lines)


def test_equal_states_at_the_embeddings_are_no_error(tmp_path: Path) -> None:
    """The last token of every prompt may be the same, and so its embedding."""
    labels = ("average", "compact", "base")
    root = synthetic.make(tmp_path, Made(latent=True, steps=1, seeds=(0,), labels=labels))
    synthetic_latent.equal_embeddings(root)
    found = read(root)
    assert figures.latent(found) is not None and figures.latent_map(found) is not None


def test_without_hidden_states_there_is_no_figure(tmp_path: Path) -> None:
    found = read(synthetic.make(tmp_path, Made(steps=1, seeds=(0,), labels=LABELS)))
    assert figures.latent(found) is None and figures.latent_map(found) is None
