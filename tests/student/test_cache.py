"""The layer that is written in place against transformers' own, which copies."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from compact_bench.student.cache import RoomyLayer
from tests.models import tiny_model

HEADS, WIDTH, OTHER = 2, 3, 5  # of keys and of values: some architectures' differ


def states(rows: int, tokens: int, draw: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    shape = rows, HEADS, tokens
    return torch.randn(*shape, WIDTH, generator=draw), torch.randn(*shape, OTHER, generator=draw)


# What is done to a cache: so many tokens appended, or rows chosen by their places.
MOVES = st.lists(
    st.one_of(st.integers(1, 4), st.lists(st.integers(0, 1), min_size=2, max_size=4)), max_size=6
)


@settings(deadline=None)
@given(moves=MOVES, further=st.integers(0, 5))
def test_holds_what_the_copying_layer_holds(moves, further):
    ours, theirs = RoomyLayer(further), DynamicLayer()
    draw = torch.Generator().manual_seed(0)
    rows = 2
    for move in [1, *moves]:
        if isinstance(move, int):
            new = states(rows, move, draw)
            pairs = zip(ours.update(*new), theirs.update(*new), strict=True)
            assert all(torch.equal(a, b) for a, b in pairs)
        else:
            chosen = torch.tensor(move)
            ours.batch_select_indices(chosen), theirs.batch_select_indices(chosen)
            rows = len(move)
        assert torch.equal(ours.keys, theirs.keys) and torch.equal(ours.values, theirs.values)
        assert ours.get_seq_length() == theirs.get_seq_length()
        assert ours.get_mask_sizes(1) == theirs.get_mask_sizes(1)


def test_no_copy_while_there_is_room():
    draw = torch.Generator().manual_seed(0)
    layer = RoomyLayer(further=3)
    layer.update(*states(2, 4, draw))
    place = layer.keys.data_ptr()
    for _ in range(3):
        layer.update(*states(2, 1, draw))
        assert layer.keys.data_ptr() == place
    layer.update(*states(2, 1, draw))  # more than there is room for
    assert layer.keys.data_ptr() != place and layer.get_seq_length() == 8


def test_chosen_rows_of_a_copy_leave_the_others_as_they_are():
    draw = torch.Generator().manual_seed(0)
    layer = RoomyLayer(further=2)
    keys, _ = layer.update(*states(2, 4, draw))
    before = keys.clone()
    other = copy.copy(layer)
    other.batch_select_indices(torch.tensor([1, 1, 0]))
    other.update(*states(3, 1, draw))
    layer.update(*states(2, 1, draw))
    assert torch.equal(layer.keys[:, :, :4], before)
    assert torch.equal(other.keys[:, :, :4], before[[1, 1, 0]])


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen2_window", "gemma3"])
@torch.no_grad()
def test_a_model_gives_the_same_logits_on_either(kind):
    """Sliding layers too, which see no more than their window in a cache that keeps everything."""
    model = tiny_model(kind, torch.float64).eval()
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(2, model.config.vocab_size, (2, 40), generator=draw)
    theirs, ours = DynamicCache(config=model.config), DynamicCache()
    ours.layers = [RoomyLayer(9) for _ in theirs.layers]
    for part in ids.split([30, 1, 1, 6, 2], dim=1):
        logits = [
            model(part, past_key_values=cache, use_cache=True).logits for cache in (ours, theirs)
        ]
        torch.testing.assert_close(*logits)
