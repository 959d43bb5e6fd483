"""Totals: what was spent on choosing, and checkpoints that didn't count it yet."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch

from compact_bench.execution.cell import train
from compact_bench.methods.registry import load
from compact_bench.student.cost import Cost
from compact_bench.suite.sections import EvaluationSpec
from tests.baselines.banks import layout_bank
from tests.models import make_batch, make_student
from tests.trainers import run, spec, trainer

EVALUATION = EvaluationSpec(tasks=[{"task": "in_domain", "role": "reasoning"}])


@pytest.mark.parametrize("need", [(), ("answer_gain",), ("teacher_logits",)], ids=str)
def test_every_pass_inside_is_counted_as_selection_too(need):
    student = make_student("llama", "padded")
    student.attach_start()
    batch = make_batch(student.tokenizer)
    student.forward(batch, needs=need)
    once = student.cost.tokens
    assert once > 0 and student.cost.selection_tokens == 0
    with student.cost.selecting(), torch.no_grad():
        student.forward(batch, needs=need)
    assert student.cost.tokens == 2 * once
    assert student.cost.selection_tokens == once
    student.forward(batch, needs=need)
    assert student.cost.selection_tokens == once


def test_selecting_ends_with_the_outermost_block_and_after_an_error():
    cost = Cost()
    with cost.selecting():
        with cost.selecting():
            cost.count(1, 1, 2.0)
        cost.count(2, 2, 4.0)
    with pytest.raises(RuntimeError), cost.selecting():
        raise RuntimeError
    cost.count(4, 4, 8.0)
    assert (cost.tokens, cost.selection_tokens, cost.flops) == (7, 3, 14.0)


def test_totals_of_an_older_checkpoint_are_taken_back():
    older = {"tokens": 5, "physical_tokens": 6, "supervised_tokens": 4, "teacher_tokens": 3}
    cost = Cost(selection_tokens=9)
    cost.load(json.loads(json.dumps({**older, "flops": 2.5})))
    assert cost == Cost(5, 6, 4, 3, 2.5, 0, 0)
    assert cost.as_dict() == {**older, "flops": 2.5, "selection_tokens": 0, "sampled_tokens": 0}
    again = Cost()
    again.load(cost.as_dict())
    assert again == cost


def test_totals_are_resumed(tmp_path):
    first = trainer(folder=tmp_path)
    with first.student.cost.selecting():
        first.student.cost.count(11, 11, 0.0)
    run(first)
    second = trainer(folder=tmp_path)
    run(second)
    assert second.student.cost.selection_tokens == 11
    assert second.student.cost == first.student.cost


@pytest.mark.parametrize("name", ["grape", "average"])
def test_a_cells_selection_is_what_its_select_reads(name):
    bank = layout_bank()
    prepared = SimpleNamespace(train=bank, dev=bank.questions, tasks=())
    suite = SimpleNamespace(training=spec(epochs=1), evaluation=EVALUATION, in_domain=None)
    suite.data, suite.student = SimpleNamespace(source="own.jsonl"), SimpleNamespace(id="tiny")
    student, alone = make_student("llama", "padded"), make_student("llama", "padded")
    method = load().methods[name]
    method().select(bank, alone)
    train(student, method(), prepared, suite, 0, None, lambda event: None, {})
    assert student.cost.selection_tokens == alone.cost.tokens
    assert student.cost.tokens > alone.cost.tokens
    assert (alone.cost.tokens > 0) == (name == "grape")


def test_cost_is_the_same_in_both_layouts():
    costs = {}
    for layout in ("padded", "shared"):
        student = make_student("llama", layout)
        student.forward(make_batch(student.tokenizer))
        costs[layout] = student.cost.as_dict()
    physical = {layout: cost.pop("physical_tokens") for layout, cost in costs.items()}
    assert costs["padded"] == costs["shared"]
    assert physical["shared"] < physical["padded"]
    batch = make_batch(student.tokenizer)
    rows = [len(batch.prompt_ids[b]) + len(ids) for b in range(2) for ids in batch.rationale_ids[b]]
    assert costs["shared"]["tokens"] == sum(rows)
    passed = sum(p.numel() for p in student.causal.parameters())
    passed -= student.causal.get_input_embeddings().weight.numel()
    assert costs["shared"]["flops"] == 6.0 * passed * sum(rows)


def test_unread_rationales_cost_nothing():
    student = make_student("llama", "padded")
    batch = make_batch(student.tokenizer)
    rows = torch.tensor([[True, False, False], [False, True, False]])
    out = student.forward(batch.restrict(rows))
    assert (out.nll != 0).tolist() == rows.tolist()
    read = len(batch.rationale_ids[0][0]) + len(batch.rationale_ids[1][1])
    assert student.cost.supervised_tokens == read
