"""Where rows lie, how rows of unlike length are padded, and what they see of each other."""

from __future__ import annotations

import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compact_bench.student import layouts
from compact_bench.student.layouts import (
    TokenRow,
    pad_rows,
    place_padded,
    place_shared,
    real_places,
)

CPU = torch.device("cpu")

TOKENS = st.lists(st.integers(0, 5), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(TOKENS, TOKENS), min_size=1, max_size=4))
def test_every_row_lies_whole_in_its_sequence(rows):
    rows = [TokenRow(0, i, prefix, target) for i, (prefix, target) in enumerate(rows)]
    for shared in (True, False):
        placement = place_shared(rows, CPU)[0] if shared else place_padded(rows, 9, CPU)
        assert placement.target.tolist() == [t for row in rows for t in row.target]
        for number, row in enumerate(rows):
            line = placement.input_ids[placement.sequence[number]]
            places = placement.places[number]
            assert line[places].tolist() == row.ids
            positions = placement.position_ids[placement.sequence[number], places]
            assert positions.tolist() == list(range(len(row.ids)))
        count = sum(len(row.ids) for row in rows)
        shared_ids = os.path.commonprefix([row.prefix for row in rows])  # noqa: RUF071 - of lists
        trunk = len(shared_ids) if len(rows) > 1 else 0
        expected = count - trunk * (len(rows) - 1) if shared else count
        assert int(placement.real.sum()) == expected


def test_padding_is_marked_by_length_and_not_by_token():
    rows = [[7, 0, 0], [5]]
    assert pad_rows(rows).tolist() == [[7, 0, 0], [5, 0, 0]]
    assert pad_rows(rows, value=-1, side="left").tolist() == [[7, 0, 0], [-1, -1, 5]]
    assert real_places(rows).tolist() == [[1, 1, 1], [1, 0, 0]]
    assert real_places(rows, side="left").tolist() == [[1, 1, 1], [0, 0, 1]]


@pytest.mark.parametrize("piece_pairs", [0, 10**6], ids=["pieces", "one square a question"])
@pytest.mark.parametrize("window", [None, 2])
def test_a_branch_sees_its_trunk_and_itself_alone(piece_pairs, window, monkeypatch):
    monkeypatch.setattr(layouts, "PIECE_PAIRS", piece_pairs)
    rows = [TokenRow(0, 0, [4, 4], [1]), TokenRow(0, 1, [4, 4], [2, 3]), TokenRow(1, 0, [6], [7])]
    placement, flat = place_shared(rows, CPU)
    assert len(flat.ids) == (4 if piece_pairs == 0 else 2)
    for number, row in enumerate(rows):
        for i, here in enumerate(placement.places[number]):
            piece = next(n for n in range(len(flat.ids)) if here in flat.places(n))
            keys = [place for key in flat.parts[piece].keys for place in flat.places(key)]
            mask = flat.parts[piece].mask(window)[0, 0]
            seen = [keys[k] for k in mask[here - flat.places(piece).start].nonzero()[:, 0].tolist()]
            expected = placement.places[number][: i + 1]
            assert sorted(seen) == sorted(expected[-window:] if window else expected), (row, i)
