"""Key-value caches that hold what a pass computed without copying it."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer


class _Layer(DynamicLayer):
    """Keeps the first keys and values as they are: joining them to nothing would copy them, and
    the copy's gradient as well."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        if self.is_initialized:
            return super().update(key_states, value_states, *args, **kwargs)
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys, self.values = key_states, value_states
        self.is_initialized = True
        return key_states, value_states


def new_cache() -> Any:
    """An empty cache; without a config it keeps every position, also of sliding layers."""
    cache = DynamicCache()
    cache.layer_class_to_replicate = _Layer
    return cache


def detached_cache(cache: Any) -> Any:
    """A cache with the same tensors that holds no graph and may grow: growing makes new ones."""
    detached = DynamicCache()
    for layer in cache.layers:
        own = copy.copy(layer)
        own.keys, own.values = layer.keys.detach(), layer.values.detach()
        detached.layers.append(own)
    return detached
