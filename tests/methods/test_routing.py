"""Questions' states against the model's own forward on each prompt alone."""

from __future__ import annotations

import pytest
import torch

from compact_bench.api import routing
from tests.baselines.banks import layout_bank
from tests.models import make_batch, make_student


@pytest.mark.parametrize("layout", ["padded", "shared"])
def test_it_is_the_mean_state_of_the_prompts_tokens(layout):
    student = make_student("llama", layout)
    batch = make_batch(student.tokenizer)
    found = routing.question_states(student, layout_bank())
    assert list(found) == ["0", "1"]
    for b, ids in enumerate(batch.prompt_ids):
        with torch.no_grad():
            hidden = student.causal(torch.tensor([ids]), output_hidden_states=True).hidden_states
        assert torch.allclose(found[str(b)], hidden[1][0, 1:].mean(0), atol=1e-5)
    assert student.cost.supervised_tokens == 0
