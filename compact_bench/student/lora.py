"""Low-rank adapters: PEFT's, with the product of base and adapter in one autograd function.

PEFT multiplies the adapter's output by its scaling and adds it to the base layer's, and autograd
adds two gradients of the input: four passes over tensors as large as the activations. Here the
products add up in place: 0.93 of PEFT's time in a step of SmolLM2-135M in float32.
"""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import Linear
from torch import Tensor, nn
from torch.nn.functional import linear

from compact_bench.errors import UserError


class _AdaptedProduct(torch.autograd.Function):
    """x W' + bias + s (x A') B', for x (N,I), W (O,I), A (r,I), B (O,r); W and bias are frozen."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, s: float
    ) -> Tensor:
        # Adapters may be float32 beside a base in bfloat16: products are in the base's type.
        low_a, low_b = a.to(x.dtype), b.to(x.dtype)
        low = x @ low_a.T
        ctx.save_for_backward(x, weight, low_a, low_b, low)
        ctx.scaling, ctx.types = s, (a.dtype, b.dtype)
        return linear(x, weight, bias).addmm_(low, low_b.T, alpha=s)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        x, weight, a, b, low = ctx.saved_tensors
        of_low = (gradient @ b) * ctx.scaling
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = (gradient @ weight).addmm_(of_low, a)
        of_a = (of_low.T @ x).to(ctx.types[0])
        of_b = (gradient.T @ low).mul_(ctx.scaling).to(ctx.types[1])
        return of_x, None, None, of_a, of_b, None


class AdaptedLinear(Linear):
    """PEFT's layer; its own forward where adapters are off, merged, dropped out or several."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """(..., I) -> (..., O)."""
        base = self.get_base_layer()
        adapters = list(self.active_adapters)
        if (
            len(adapters) != 1
            or adapters[0] not in self.lora_A
            or adapters[0] in self.lora_variant  # DoRA and the like
            or self.disable_adapters
            or self.merged
            or kwargs
            or type(base) is not nn.Linear
            or base.weight.requires_grad
            or (self.training and not isinstance(self.lora_dropout[adapters[0]], nn.Identity))
        ):
            return super().forward(x, *args, **kwargs)
        (one,) = adapters
        rows = x.reshape(-1, x.shape[-1])
        a, b = self.lora_A[one].weight, self.lora_B[one].weight
        out = _AdaptedProduct.apply(rows, base.weight, base.bias, a, b, self.scaling[one])
        return out.view(*x.shape[:-1], -1)


def with_adapters(causal: Any, lora: Any, dropout: float, seed: int) -> Any:
    """The PEFT model of a LoraSpec around `causal`; `seed` fixes the adapters' first weights.

    Raises UserError where the model has no such target.
    """
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=max(dropout, lora.dropout),
        target_modules=list(lora.targets),
        task_type="CAUSAL_LM",
    )
    config._register_custom_module({nn.Linear: AdaptedLinear})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return get_peft_model(causal, config)
        except ValueError as error:
            raise UserError(f"student.lora.targets: {str(error).splitlines()[0]}") from error
