"""A key-value cache that is written in place, for decoding token by token."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.cache_utils import DynamicLayer


class RoomyLayer(DynamicLayer):
    """Keys and values (N,H,T,D) of a layer in buffers with room for further tokens.

    transformers' own dynamic layer copies all of them at every token (more than half of a step of
    50 rows on a CPU), its static one attends to the whole buffer. A sliding layer may be kept in
    it too: the mask limits what is seen.

    further: how many tokens more than they hold buffers are made for, when they have to be.
    """

    def __init__(self, further: int = 0) -> None:
        super().__init__()
        self.further = further
        self.buffers: tuple[Tensor, Tensor] | None = None

    def fill(self, keys: Tensor, values: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """Takes over buffers (N,H,T,D) that hold `length` tokens; returns the views of those."""
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
        self.buffers = keys, values
        views = keys[:, :, :length], values[:, :, :length]
        self.keys, self.values = views
        return views

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Appends (N,H,S,D) and returns views of all keys and values."""
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        keys, values = self.buffers or (key_states[:, :, :0], value_states[:, :, :0])
        if end > keys.shape[-2]:
            keys, values = (_moved(old, start, end + self.further) for old in (keys, values))
        keys[:, :, start:end], values[:, :, start:end] = key_states, value_states
        return self.fill(keys, values, end)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keeps these rows, any of them several times or never, in buffers of their own."""
        if self.buffers:
            length, room = self.get_seq_length(), self.buffers[0].shape[-2]
            keys, values = (_moved(old, length, room, indices) for old in self.buffers)
            self.fill(keys, values, length)


def _moved(old: Tensor, length: int, room: int, rows: Tensor | None = None) -> Tensor:
    """A buffer of so much room with the first `length` tokens of these rows (None: of all)."""
    count = len(old) if rows is None else len(rows)
    buffer = old.new_empty(count, old.shape[1], room, old.shape[-1])
    kept = old[:, :, :length]
    buffer[:, :, :length] = kept if rows is None else kept[rows]
    return buffer
