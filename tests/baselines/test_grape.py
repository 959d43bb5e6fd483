"""The likeliest rationale, against the model's own forward on each row alone."""

from __future__ import annotations

import pytest

from compact_bench.methods.registry import load
from tests.baselines.banks import chosen, layout_bank
from tests.models import make_batch, make_student, row_alone

METHOD = load().methods["grape"]


@pytest.mark.parametrize("layout", ["padded", "shared"])
def test_it_keeps_the_lowest_mean_nll_of_each_question(layout):
    student = make_student("llama", layout)
    batch = make_batch(student.tokenizer)
    expected = []
    for b, name in enumerate(batch.question_id):
        nll = [row_alone(student, batch.prompt_ids[b], ids) for ids in batch.rationale_ids[b]]
        assert len(set(nll)) == len(nll)
        expected.append((name, "abc"[nll.index(min(nll))]))
    kept = METHOD().select(layout_bank(), student)
    assert chosen(kept) == expected


def test_the_scoring_pass_is_counted_and_trains_nothing():
    student = make_student("llama", "padded")
    batch = make_batch(student.tokenizer)
    METHOD().select(layout_bank(), student)
    rows = [len(batch.prompt_ids[b]) + len(ids) for b in range(2) for ids in batch.rationale_ids[b]]
    assert student.cost.tokens == sum(rows)
    assert student.cost.flops == 2.0 * student.parameters_passed * sum(rows)
    assert student.cost.supervised_tokens == 0
    assert all(p.grad is None for p in student.trainable().values())
