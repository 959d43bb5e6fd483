"""Attention by pieces against a softmax written out for each token alone."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compact_bench.student import layouts
from compact_bench.student.attention import attention
from compact_bench.student.layouts import TokenRow, place_shared

HEADS, GROUPS, WIDTH = 4, 2, 8  # two heads share keys and values
TOKENS = st.lists(st.integers(0, 3), min_size=1, max_size=5)
ROWS = st.lists(st.tuples(st.integers(0, 1), TOKENS, TOKENS), min_size=1, max_size=4)


def alone(query, key, value, window):
    """What the last of a row's tokens reads: (H,d), from (H,d), (H/2,n,d) and (H/2,n,d)."""
    start = max(0, key.shape[1] - window) if window else 0
    keys, values = (x[:, start:].repeat_interleave(HEADS // GROUPS, 0) for x in (key, value))
    chances = torch.softmax((keys @ query[..., None])[..., 0] / WIDTH**0.5, -1)
    return (chances[..., None] * values).sum(1)


@settings(max_examples=40, deadline=None)
@given(ROWS, st.sampled_from([None, 3]), st.sampled_from([0, 10**6]))
def test_each_token_reads_what_it_reads_alone(rows, window, piece_pairs):
    rows = [TokenRow(q, slot, prefix, target) for slot, (q, prefix, target) in enumerate(rows)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layouts, "PIECE_PAIRS", piece_pairs)
        placement, flat = place_shared(rows, torch.device("cpu"))
    draw = torch.Generator().manual_seed(0)
    query, key, value = (
        torch.randn(1, heads, flat.length, WIDTH, generator=draw, dtype=torch.float64)
        for heads in (HEADS, GROUPS, GROUPS)
    )
    module = SimpleNamespace(num_key_value_groups=HEADS // GROUPS, is_causal=True)
    out, _ = attention(
        module, query, key, value, None, flat.segments(), window, scaling=WIDTH**-0.5
    )
    for places in placement.places:
        for i, place in enumerate(places):
            seen = places[: i + 1]
            expected = alone(query[0, :, place], key[0, :, seen], value[0, :, seen], window)
            torch.testing.assert_close(out[0, place], expected)
