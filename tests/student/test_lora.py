"""Adapters against PEFT's own layer."""

from __future__ import annotations

import pytest
import torch
from peft.tuners.lora import Linear

from compact_bench.errors import UserError
from compact_bench.student.lora import AdaptedLinear, with_adapters
from compact_bench.suite.sections import LoraSpec
from tests.models import tiny_model


def adapted(dtype=torch.float64, dropout: float = 0.0):
    """A tiny model with adapters that were trained: with no B of zeros."""
    model = with_adapters(tiny_model("qwen2", dtype), LoraSpec(r=3, alpha=7), dropout, seed=0)
    draw = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=draw).to(parameter.dtype)
    return model.train()


def loss_and_gradient(model, monkeypatch, forward):
    """Of one text, by that forward of the layer."""
    monkeypatch.setattr(AdaptedLinear, "forward", forward)
    model.zero_grad()
    torch.manual_seed(0)  # of the dropout
    ids = torch.arange(2, 40).view(2, 19)
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    return loss.detach(), torch.cat([p.grad.flatten() for p in trained])


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_loss_and_gradient_are_those_of_peft(dropout, monkeypatch):
    model = adapted(dropout=dropout)
    ours, theirs = (
        loss_and_gradient(model, monkeypatch, layer.forward) for layer in (AdaptedLinear, Linear)
    )
    assert ours[1].norm() > 0
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


def test_products_are_in_the_type_of_the_frozen_weights(monkeypatch):
    model = adapted(torch.bfloat16)
    layer = next(m for m in model.modules() if isinstance(m, AdaptedLinear))
    x = torch.randn(2, 5, layer.in_features, dtype=torch.bfloat16)
    assert layer(x).dtype == torch.bfloat16
    assert layer.lora_A["default"].weight.dtype == torch.float32
    ours, theirs = (
        loss_and_gradient(model, monkeypatch, layer.forward)[1] for layer in (AdaptedLinear, Linear)
    )
    exact = loss_and_gradient(model.double(), monkeypatch, Linear.forward)[1]
    assert float((ours - exact).norm()) < 1.5 * float((theirs - exact).norm())


def test_adapters_that_are_off_or_merged_change_what_peft_s_do():
    model = adapted()
    ids = torch.arange(2, 12)[None]
    with torch.no_grad():
        on = model(input_ids=ids).logits
        with model.disable_adapter():
            off = model(input_ids=ids).logits
        plain = tiny_model("qwen2", torch.float64)(input_ids=ids).logits
        merged = model.merge_and_unload()(input_ids=ids).logits
    assert not torch.allclose(on, off)
    torch.testing.assert_close(off, plain)
    torch.testing.assert_close(on, merged)


def test_an_unknown_target_is_one_clear_line():
    with pytest.raises(UserError, match=r"student\.lora\.targets: "):
        with_adapters(tiny_model("llama"), LoraSpec(targets=["nowhere"]), 0.0, seed=0)
