"""Vectors of weights, changes of layers, and the Fisher information, against plain autograd."""

from __future__ import annotations

import pytest
import torch

from compact_bench.api import weight_space
from tests.models import make_batch, make_student
from tests.trainers import student


def row_gradient(made, ids: list[int], prefix: int, reduction: str) -> torch.Tensor:
    """The gradient of a row's NLL by the model's own loss, in the order of its parameters."""
    made.model.zero_grad()
    logits = made.causal(torch.tensor([ids])).logits[0, prefix - 1 : -1]
    target = torch.tensor(ids[prefix:])
    torch.nn.functional.cross_entropy(logits, target, reduction=reduction).backward()
    gradient = torch.cat(
        [
            (torch.zeros_like(p) if p.grad is None else p.grad).flatten()
            for p in made.model.parameters()
            if p.requires_grad
        ]
    )
    made.model.zero_grad()
    return gradient


def test_a_vector_and_back():
    state = make_student("llama", "padded").state_dict()
    vector = weight_space.flat(state)
    assert vector.shape == (sum(value.numel() for value in state.values()),)
    again = weight_space.unflatten(vector, state)
    assert again.keys() == state.keys()
    assert all(torch.equal(again[name], state[name]) for name in state)
    first = next(iter(state.values()))
    assert torch.equal(vector[: first.numel()].view_as(first), first)


def moved(made, seed: int = 0):
    """Every trained parameter changed at random; what it was before."""
    start = made.state_dict()
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.trainable().values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=draw))
    return start


def test_change_of_full_weights():
    made = student()
    start = moved(made)
    end = made.state_dict()
    expected = sum(float(((end[n] - start[n]).double() ** 2).sum()) for n in start)
    found = weight_space.squared_change(made.trainable(), start)
    assert float(found.detach()) == pytest.approx(expected, rel=1e-4)


def test_change_of_adapted_layers_is_that_of_the_products():
    made = student(lora=True)
    moved(made, 1)  # so that B isn't 0 at the start
    start = moved(made, 2)
    end = made.state_dict()
    expected = 0.0
    for name in (n for n in start if "lora_A" in n):
        other = name.replace("lora_A", "lora_B")
        change = end[other] @ end[name] - start[other] @ start[name]
        expected += float((change.double() ** 2).sum())
    found = weight_space.squared_change(made.trainable(), start)
    assert expected > 0.01
    assert float(found.detach()) == pytest.approx(expected, rel=1e-3)
    found.backward()
    assert all(p.grad is not None and p.grad.any() for p in made.trainable().values())


@pytest.mark.parametrize("layout", ["padded", "shared"])
def test_each_rationales_gradient(layout):
    made, plain = make_student("llama", layout), make_student("llama", "padded")
    batch = make_batch(made.tokenizer)
    found = list(weight_space.rationale_gradients(made, batch))
    assert [(b, r) for b, r, _ in found] == [tuple(p) for p in batch.present.nonzero().tolist()]
    for b, r, gradient in found:
        ids = batch.prompt_ids[b] + batch.rationale_ids[b][r]
        expected = row_gradient(plain, ids, len(batch.prompt_ids[b]), "mean")
        assert torch.allclose(gradient, expected, atol=1e-5)


@pytest.mark.parametrize("lora", [False, True])
def test_fisher_is_the_mean_square_of_the_texts_gradients(lora):
    made = student(lora)
    batch = make_batch(made.tokenizer)
    squares = []
    for b, r in batch.present.nonzero().tolist():
        ids = batch.prompt_ids[b] + batch.rationale_ids[b][r]
        squares.append(row_gradient(made, ids, len(batch.prompt_ids[b]), "sum").square())
    expected = torch.stack(squares).mean(0)
    found = weight_space.diagonal_fisher(made, batch)
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-4 * float(expected.max()))
    if lora:  # B is 0 at first, so that nothing depends on A
        parts = weight_space.unflatten(found, made.state_dict())
        assert all(value.any() == ("lora_B" in name) for name, value in parts.items())
