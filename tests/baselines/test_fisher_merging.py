"""Weights averaged by Fisher information that is computed here by plain autograd."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compact_bench.methods.registry import load
from compact_bench_baselines.fisher_merging import precision_mean
from tests.methods.test_weight_space import moved, row_gradient
from tests.trainers import trainer

METHODS = load().methods
METHOD = METHODS["fisher_merging"]


@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(0.01, 9)), min_size=1, max_size=5))
def test_the_mean_lies_between_and_nearer_to_the_more_precise(pairs):
    values, precisions = (
        torch.tensor(x, dtype=torch.float64)[:, None] for x in zip(*pairs, strict=True)
    )
    found = float(precision_mean(values, precisions))
    expected = sum(x * f for x, f in pairs) / sum(f for _, f in pairs)
    assert found == pytest.approx(expected, abs=1e-9)


def fisher(made, teacher: int, questions: int) -> torch.Tensor:
    """Of the first questions' rationales of one teacher, as the student stands."""
    squares = []
    for example in made.examples[:questions]:
        own = next(r for r in example.rationales if r.teacher == teacher)
        ids, prefix = example.prompt_ids + own.ids, len(example.prompt_ids)
        squares.append(row_gradient(made.student, ids, prefix, "sum").square())
    mean = torch.stack(squares).mean(0)
    mean = mean / mean.norm()
    return mean + 1e-6 * mean.mean()


@pytest.mark.parametrize("lora", [False, True])
def test_each_weight_is_averaged_by_both_branches_fisher(lora):
    made = trainer(METHOD(METHOD.Config(examples=3)), lora=lora)
    start = made.student.state_dict()
    ends, fishers = [], []
    for k in range(2):
        moved(made.student, seed=k)
        ends.append(made.student.state_dict())
        fishers.append(fisher(made, k, 3))
    merged = made.distiller.merged(start, ends, made)
    vectors = [torch.cat([v.flatten() for v in end.values()]) for end in ends]
    total = sum(fishers)
    expected = sum(f * v for f, v in zip(fishers, vectors, strict=True)) / total
    found = torch.cat([merged[name].flatten() for name in start])
    assert torch.allclose(found, expected, atol=2e-3)
    mean = (vectors[0] + vectors[1]) / 2
    assert float((found - mean).abs().max()) > 0.01  # it isn't the soup


def test_it_reads_its_examples_and_the_soups_tokens():
    made, soup = trainer(METHOD(METHOD.Config(examples=2))), trainer(METHODS["adapter_soup"]())
    for one in (made, soup):
        one.distiller.fit(one)
    extra = 0
    for example in made.examples[:2]:
        extra += sum(len(example.prompt_ids) + len(r.ids) for r in example.rationales)
    assert made.student.cost.tokens == soup.student.cost.tokens + extra
