"""Tables of a row's cells as one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from compact_bench.records.joining import NO_SEED, by_seed_and_item, joined


def test_cells_stand_below_each_other_with_their_seed() -> None:
    first = pa.table({"task": ["a", "b"], "n": [1, 2]})
    frame = joined([(3, first), (4, None), (None, pa.table({"task": ["c"], "x": [0.5]}))])
    assert frame["seed"].tolist() == [3, 3, NO_SEED]
    assert frame["task"].tolist() == ["a", "b", "c"]
    assert frame["n"].isna().tolist() == [False, False, True]
    assert joined([(0, None), (1, first.slice(0, 0))]).empty


def test_items_by_seed_are_pandas_own_pivot() -> None:
    draw = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "seed": draw.integers(0, 3, 60),
            "question_id": draw.choice(list("abcdef"), 60),
            "right": draw.random(60),
        }
    )
    mine = by_seed_and_item(frame, "right")
    other = frame.pivot_table(index="seed", columns="question_id", values="right", aggfunc="mean")
    assert mine.index.tolist() == other.index.tolist()
    assert mine.columns.tolist() == other.columns.tolist()
    np.testing.assert_allclose(mine.to_numpy(), other.to_numpy(), rtol=1e-12)


def test_the_cell_without_a_seed_has_none() -> None:
    frame = pd.DataFrame({"seed": [NO_SEED, 1], "question_id": ["q", "q"], "right": [1.0, 0.0]})
    assert by_seed_and_item(frame, "right").index.tolist() == [None, 1]
