"""Hidden states of a fixed set of prompts, layer by layer: forward passes only."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from compact_bench.student.layouts import pad_rows, real_places
from compact_bench.student.student import Student

WIDEST = 128  # numbers recorded of a state
MOST_LAYERS = 8  # of a deeper student, this many at even distances
DEEP_LAYERS = 6
ROWS = 16  # prompts at a time: all layers of all their tokens are held


def recorded_layers(layers: int) -> list[int]:
    """Which of the states after 0 (the embeddings) to `layers` layers are recorded.

    >>> recorded_layers(4)
    [0, 1, 2, 3, 4]
    >>> recorded_layers(30)
    [0, 6, 12, 18, 24, 30]
    """
    if layers < MOST_LAYERS:
        return list(range(layers + 1))
    return [round(layers * i / (DEEP_LAYERS - 1)) for i in range(DEEP_LAYERS)]


def projection(width: int) -> Tensor | None:
    """(width,WIDEST) float32: the one random matrix that wide states are multiplied by.

    Normal numbers over sqrt(WIDEST): inner products keep their expectation (Johnson &
    Lindenstrauss). None for a state that is recorded as it is.
    """
    if width <= WIDEST:
        return None
    draw = torch.Generator().manual_seed(0)
    return torch.randn(width, WIDEST, generator=draw) / WIDEST**0.5


@torch.no_grad()
def last_states(student: Student, prompts: Sequence[Sequence[int]]) -> dict[int, Tensor]:
    """Layer -> (N, at most WIDEST) float32 on the CPU: states at each prompt's last token."""
    layers = recorded_layers(student.layers)
    matrix = projection(int(student.causal.config.hidden_size))
    parts: dict[int, list[Tensor]] = {layer: [] for layer in layers}
    for at in range(0, len(prompts), ROWS):
        chosen = prompts[at : at + ROWS]
        hidden = student.decoder(
            input_ids=pad_rows(chosen, student.device),
            attention_mask=real_places(chosen, student.device),
            output_hidden_states=True,
            use_cache=False,
        ).hidden_states  # layers + 1 times (N,T,D)
        last = torch.tensor([len(prompt) - 1 for prompt in chosen])  # (N,)
        for layer in layers:
            state = hidden[layer][torch.arange(len(chosen)), last].float().cpu()  # (N,D)
            parts[layer].append(state if matrix is None else state @ matrix)
    return {layer: torch.cat(states) for layer, states in parts.items()}
