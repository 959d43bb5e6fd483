"""Where rows lie, how rows of unlike length are padded, and which sequences they share."""

from __future__ import annotations

import os
from itertools import chain

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compact_bench.student.layouts import (
    TokenRow,
    block_mask,
    pack,
    pad_rows,
    place,
    real_places,
)
from tests.models import tiny_config

TOKENS = st.lists(st.integers(0, 5), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(TOKENS, TOKENS), min_size=1, max_size=4))
def test_every_row_lies_whole_in_its_sequence(rows):
    rows = [TokenRow(0, i, prefix, target) for i, (prefix, target) in enumerate(rows)]
    for shared in (True, False):
        placement = place(rows, shared, 9, torch.device("cpu"))
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


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_packing_holds_each_once_and_costs_no_more_than_the_trivial_ones(lengths):
    def cost(bins: list[list[int]]) -> float:
        longest = max(sum(lengths[i] for i in members) for members in bins)
        return len(bins) * longest * (1 + longest / 30)

    bins = pack(lengths, 30)
    assert sorted(chain(*bins)) == list(range(len(lengths)))
    assert cost(bins) <= cost([[i] for i in range(len(lengths))])
    assert cost(bins) <= cost([list(range(len(lengths)))])


def test_padding_is_marked_by_length_and_not_by_token():
    rows = [[7, 0, 0], [5]]
    assert pad_rows(rows).tolist() == [[7, 0, 0], [5, 0, 0]]
    assert pad_rows(rows, value=-1, side="left").tolist() == [[7, 0, 0], [-1, -1, 5]]
    assert real_places(rows).tolist() == [[1, 1, 1], [1, 0, 0]]
    assert real_places(rows, side="left").tolist() == [[1, 1, 1], [0, 0, 1]]


def test_a_branch_sees_its_trunk_and_itself_alone():
    rows = [TokenRow(0, 0, [4, 4], [1]), TokenRow(0, 1, [4, 4], [2, 3]), TokenRow(1, 0, [6], [7])]
    placement = place(rows, True, 0, torch.device("cpu"))
    mask = block_mask(placement, tiny_config("llama", 8))
    for a, row in enumerate(rows):
        for i, here in enumerate(placement.places[a]):
            seen = mask[placement.sequence[a], 0, here].nonzero()[:, 0].tolist()
            assert seen == sorted(placement.places[a][: i + 1]), (row, i)
