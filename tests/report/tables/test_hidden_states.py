"""Tables of hidden states: their numbers from the files, another way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA

from compact_bench.analysis import hidden_states
from compact_bench.analysis.results import Results, read
from compact_bench.records.cells import Cell, CellWriter, read_cells
from compact_bench.report import page
from compact_bench.report.tables import hidden_states as hidden_states_tables
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


def change(cell: Cell) -> np.ndarray:
    frame = cell.frame("latent")
    return np.asarray(frame[frame["kind"] == "change"]["values"].iloc[0], dtype=float)


def line(table, label: str, seed: int, layer: int) -> pd.Series:
    frame = table.numbers
    found = frame[(frame["label"] == label) & (frame["seed"] == seed) & (frame["layer"] == layer)]
    assert len(found) == 1
    return found.iloc[0]


def cka(first: np.ndarray, second: np.ndarray) -> float:
    """Of the unbiased estimates that tests/analysis compares with their definition."""
    first, second = (hidden_states.centred_similarities(states) for states in (first, second))
    return float(first @ second)


@pytest.mark.parametrize("layer", synthetic_latent.LAYERS[1:])
def test_the_table_is_what_the_files_say(results: Results, cells, layer: int) -> None:
    table = hidden_states_tables.latent(results)
    assert table is not None
    before = states(cells["base", None], "student", layer)
    mine = states(cells["compact", 0], "student", layer)
    random = states(cells["compact", 0], "random", layer)
    found = line(table, "compact", 0, layer)
    assert found["cka"] == pytest.approx(cka(mine, before), abs=1e-5)
    assert found["cka_random"] == pytest.approx(cka(random, before), abs=1e-5)
    assert found["drift"] == pytest.approx(float(hidden_states.drift(mine, before)), abs=1e-5)
    assert found["drift_random"] == pytest.approx(
        float(hidden_states.drift(random, before)), abs=1e-5
    )
    same = states(cells["average", 0], "student", layer)
    assert found["cka_reference"] == pytest.approx(cka(mine, same), abs=1e-5)
    others = [cka(mine, states(cells["average", s], "student", layer)) for s in (1, 2)]
    assert found["cka_reference_other_seeds"] == pytest.approx(np.mean(others), abs=1e-5)
    own = cka(mine, states(cells["compact", 2], "student", layer))  # seed 1 failed
    assert found["cka_seeds"] == pytest.approx(own, abs=1e-5)


def test_the_reference_row_has_no_comparison_to_itself(results: Results) -> None:
    found = line(hidden_states_tables.latent(results), "average", 0, 8)
    assert np.isnan(found["cka_reference"]) and np.isfinite(found["cka_seeds"])


def test_angles_are_of_the_last_layer(results: Results, cells) -> None:
    table = hidden_states_tables.latent(results)
    sides = [
        PCA(8, svd_solver="full").fit(states(cells[key], "student", 8)).components_.T
        for key in (("compact", 2), ("base", None))
    ]
    angles = np.degrees(subspace_angles(*sides))
    found = line(table, "compact", 2, 8)
    assert found["angle_largest"] == pytest.approx(angles.max(), abs=1e-4)
    assert found["angle_mean"] == pytest.approx(angles.mean(), abs=1e-4)
    assert np.isnan(line(table, "compact", 2, 6)["angle_mean"])


def test_cosines_are_of_the_same_seed_and_the_controls_beside_them(results, cells) -> None:
    table = hidden_states_tables.integration(results)
    assert table is not None
    assert table.columns == (
        "method", "single_teacher[equations]", "single_teacher[terse]", "average (control)",
        "own other seeds (control)",
    )  # fmt: skip

    def cosine(left: np.ndarray, right: np.ndarray) -> float:
        return float(left @ right / np.sqrt((left @ left) * (right @ right)))

    numbers = table.numbers.set_index(["label", "against", "seeds"])["mean"]
    same = [
        cosine(change(cells["compact", s]), change(cells["single_teacher[terse]", s]))
        for s in (0, 2)
    ]
    assert numbers["compact", "single_teacher[terse]", "same"] == pytest.approx(
        np.mean(same), abs=1e-5
    )
    own = cosine(change(cells["compact", 0]), change(cells["compact", 2]))
    assert numbers["compact", "compact", "other"] == pytest.approx(own, abs=1e-5)
    shared = numbers["compact", "single_teacher[terse]", "same"]
    assert shared > numbers["compact", "single_teacher[terse]", "other"] + 0.1
    assert {row[0].text: row[1].text for row in table.rows}["single_teacher[equations]"] == "–"
    assert "0.016" in str(table.caption) and "order of the data" in str(table.caption)


def test_cells_with_other_prompts_are_left_out_and_counted(tmp_path: Path) -> None:
    root = synthetic.make(tmp_path, Made(latent=True, steps=1, seeds=(0, 1), labels=LABELS[-2:]
                                         + LABELS[:1]))  # fmt: skip
    cell = next(c for c in read_cells(root) if (c.spec["label"], c.spec["seed"]) == ("compact", 0))
    frame = cell.frame("latent")
    kept = frame["question_id"] != frame["question_id"].iloc[0]
    CellWriter(cell.folder).table("latent", frame[kept])
    table = hidden_states_tables.latent(read(root))
    assert "1 cells with other prompts" in str(table.caption)
    assert set(table.numbers[table.numbers["label"] == "compact"]["seed"]) == {1}


def test_equal_states_at_the_embeddings_are_no_error(tmp_path: Path) -> None:
    """The last token of every prompt may be the same, and so its embedding."""
    root = synthetic.make(tmp_path, Made(latent=True, steps=1, seeds=(0,), labels=LABELS[-2:]
                                         + LABELS[:1]))  # fmt: skip
    synthetic_latent.equal_embeddings(root)
    found = line(hidden_states_tables.latent(read(root)), "compact", 0, 0)
    assert np.isnan(found["cka"]) and np.isnan(found["drift"])


def test_older_records_have_none_of_it(tmp_path: Path) -> None:
    results = read(synthetic.make(tmp_path, Made(steps=1, seeds=(0,), labels=LABELS)))
    names = {table.name for table in page.build_tables(results)}
    assert not names & {"latent", "integration"}
