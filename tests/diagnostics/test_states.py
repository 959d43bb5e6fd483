"""Hidden states against forwards of one prompt, and which of them are recorded."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from compact_bench.diagnostics.states import WIDEST, last_states, projection, recorded_layers


def test_states_are_those_of_each_prompt_alone(student, prompts):
    found = last_states(student, prompts)
    assert sorted(found) == [0, 1, 2]
    for n, prompt in enumerate(prompts):
        with torch.no_grad():
            hidden = student.decoder(torch.tensor([prompt]), output_hidden_states=True)
        for layer, states in found.items():
            assert states.shape == (len(prompts), student.causal.config.hidden_size)
            expected = hidden.hidden_states[layer][0, -1].float()
            torch.testing.assert_close(states[n], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layers", [1, 4, 7, 8, 12, 30, 80])
def test_recorded_layers_go_from_first_to_last_at_even_distances(layers):
    kept = recorded_layers(layers)
    assert kept[0] == 0 and kept[-1] == layers and len(set(kept)) == len(kept) <= 8
    distances = np.diff(kept)
    assert distances.max() - distances.min() <= 1


def test_a_wide_state_keeps_its_inner_products():
    assert projection(WIDEST) is None
    matrix = projection(576)
    draw = torch.Generator().manual_seed(5)
    x, y = torch.randn(300, 576, generator=draw), torch.randn(300, 576, generator=draw)
    y = 0.5 * x + y
    exact = (x * y).sum(-1)
    error = ((x @ matrix) * (y @ matrix)).sum(-1) - exact
    size = (x.norm(dim=-1) * y.norm(dim=-1) / WIDEST**0.5).mean()
    assert abs(float(error.mean())) < 0.35 * float(size)  # 300 pairs: unbiased
    assert float(error.std()) < 2 * float(size)
    assert torch.equal(matrix, projection(576))
