"""Rehearsal: gradients mixed by hand, the average at 0, and what is drawn and counted."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from compact_bench.api import Run
from compact_bench.data.rationales import RationaleBank, question_table, rationale_table
from compact_bench.errors import CellError
from compact_bench.methods.registry import load
from compact_bench_baselines.average import Average
from tests.models import make_batch, make_student, row_alone
from tests.trainers import assert_resumes, run, same, trainer

METHOD = load().methods["rehearsal"]
COUNT = 6


def old_bank() -> RationaleBank:
    rows = [
        {"question_id": f"o{i}", "question": f"Old {i}?", "answer": str(i)} for i in range(COUNT)
    ]
    rows = [row | {"kind": "number"} for row in rows]
    shared = {"teacher": "old", "sample": 0, "role": "old", "right": True, "corruption": ""}
    texts = [
        {"question_id": r["question_id"], "text": f"It is {'so ' * i}{i}.", "answer": r["answer"]}
        for i, r in enumerate(rows)
    ]
    return RationaleBank(
        question_table(rows), rationale_table({**text, **shared} for text in texts), ("old",)
    )


def made(share: float, asked=None, **arguments):
    one = trainer(METHOD(METHOD.Config(share=share)), **arguments)

    def old():
        if asked is not None:
            asked.append(1)
        return old_bank()

    one.old = old
    return one


def fitted(one):
    one.distiller.fit(one)
    return one


def gradient(student) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in student.trainable().values()])


@pytest.mark.parametrize("layout", ["padded", "shared"])
@pytest.mark.parametrize("share", [0.2, 0.7, 1.0])
def test_the_gradient_is_the_mix_of_the_two_by_hand(layout, share):
    student = make_student("llama", layout)
    method, batch = METHOD(METHOD.Config(share=share)), make_batch(student.tokenizer)
    other = trainer(method)
    other.student, other.old = student, old_bank
    drawn = []
    method.old_batch = lambda draw, size: drawn.append(other.old_batch(draw, size)) or drawn[-1]
    step = method.backward(student, batch)
    found = gradient(student)

    (old,) = drawn
    assert len(old.questions) == len(batch.questions) == 2
    plain, losses = make_student("llama", layout), []
    parts = []
    for part in (make_batch(student.tokenizer), old):
        plain.model.zero_grad()
        out = plain.forward(part)
        per_question = out.nll.sum(-1) / part.present.sum(-1)
        losses.append(per_question.mean())
        losses[-1].backward()
        parts.append(gradient(plain))
    mixed = (1 - share) * parts[0] + share * parts[1]
    assert torch.allclose(found, mixed, atol=1e-6)
    loss = float((1 - share) * losses[0].detach() + share * losses[1].detach())
    assert float(step.loss.detach()) == pytest.approx(loss, abs=1e-6)
    alone = [row_alone(plain, old.prompt_ids[b], old.rationale_ids[b][0]) for b in range(2)]
    assert step.logs["old_nll"] == pytest.approx(sum(alone) / 2, abs=1e-5)


def test_a_share_of_0_is_the_average_bit_for_bit_and_asks_for_nothing():
    asked: list[int] = []
    none = fitted(made(0.0, asked))
    plain = trainer(Average())
    assert same(none.student.state_dict(), run(plain))
    assert none.student.cost == plain.student.cost
    assert asked == []


def test_old_tokens_count_but_are_no_teachers():
    asked: list[int] = []
    one, plain = fitted(made(0.2, asked)), trainer(Average())
    run(plain)
    costs = one.student.cost, plain.student.cost
    assert asked == [1]  # made once, for eight steps
    assert costs[0].teacher_tokens == costs[1].teacher_tokens
    assert costs[0].supervised_tokens > costs[1].supervised_tokens
    assert costs[0].tokens > costs[1].tokens and costs[0].flops > costs[1].flops
    assert not same(one.student.state_dict(), plain.student.state_dict())
    logs = pd.DataFrame(one.records)["log_old_nll"]
    assert logs.notna().all() and logs.nunique() == 8


def test_examples_are_drawn_afresh_by_the_batchs_generator_and_none_twice():
    one = made(0.2)

    def draw(seed, size):
        return one.old_batch(torch.Generator().manual_seed(seed), size)

    batches = [draw(seed, 4) for seed in range(20)]
    assert all(len(set(batch.question_id)) == 4 for batch in batches)
    assert {name for batch in batches for name in batch.question_id} == {f"o{i}" for i in range(6)}
    assert len({tuple(batch.question_id) for batch in batches}) > 10
    assert draw(3, 4).question_id == batches[3].question_id
    assert len(draw(0, 50).questions) == COUNT
    assert not batches[0].taught and make_batch(one.student.tokenizer).taught


def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path):
    assert_resumes(lambda folder: made(0.2, folder=folder), fitted, tmp_path, stop_at=6)


def test_it_skips_where_nothing_old_is_at_hand():
    nothing = Run(SimpleNamespace(questions=range(4)), ("a",), None, None)
    reason = "no examples of what the student knew are at hand"
    assert METHOD().skip(nothing) == reason
    assert METHOD().skip(replace(nothing, old=10)) is None
    assert METHOD(METHOD.Config(share=0)).skip(nothing) is None
    one = trainer(METHOD())
    with pytest.raises(CellError, match=reason):
        fitted(one)
