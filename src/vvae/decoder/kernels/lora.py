"""A linear layer with its LoRA in as few passes over memory as there are products.

    y = x W' + s (x A') B'          dx = g W + s (g B) A      dA = s (g B)' x      dB = s g' (x A')

PEFT computes the same with a product, a scaling and a sum of their own, each of which reads and
writes all of y. Here the small product is added in place, and of the forward pass only x and x A'
are kept. On a CPU, where memory is slow, that made about 13 % more replies a second of the same
numbers (three alternating runs: 2.85, 2.57, 2.71 before, 2.72, 3.29, 3.07 after).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

__all__ = ["LoraProduct", "fuse"]


class LoraProduct(torch.autograd.Function):
    """A product of x (N, in), weight (out, in), bias (out,) or None, A (r, in), B (out, r), s ->
    (N, out), in the weight's type.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        a: torch.Tensor,
        b: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        """Return the layer's output."""
        with torch.autocast(x.device.type, enabled=False):
            x, a_, b_ = x.to(weight.dtype), a.to(weight.dtype), (b * scale).to(weight.dtype)
            inner = x @ a_.T
            ctx.save_for_backward(x, inner, weight, a_, b_)
            ctx.scale, ctx.types = scale, (a.dtype, b.dtype)
            return torch.nn.functional.linear(x, weight, bias).addmm_(inner, b_.T)

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of x, A and B."""
        x, inner, weight, a, b = ctx.saved_tensors
        g = upstream[0].to(weight.dtype)
        through = g @ b
        of_x = (g @ weight).addmm_(through, a) if ctx.needs_input_grad[0] else None
        of_a, of_b = (through.T @ x).to(ctx.types[0]), (g.T @ inner).to(ctx.types[1]) * ctx.scale
        return of_x, None, None, of_a, of_b, None


def fuse(model: torch.nn.Module) -> None:
    """Let the plain LoRA layers of a PEFT model compute with `LoraProduct`; others are left as they
    are.
    """
    from peft.tuners.lora import Linear

    for module in model.modules():
        if (
            type(module) is Linear
            and type(module.base_layer) is torch.nn.Linear
            and not module.lora_variant
        ):
            module.forward = partial(_forward, module)


def _forward(layer: Any, x: torch.Tensor) -> torch.Tensor:
    names = layer.active_adapters
    plain = len(names) == 1 and isinstance(layer.lora_dropout[names[0]], torch.nn.Identity)
    if layer.merged or layer.disable_adapters or not plain:
        return type(layer).forward(layer, x)  # type: ignore[no-any-return]
    base, a, b = layer.base_layer, layer.lora_A[names[0]].weight, layer.lora_B[names[0]].weight
    product: Any = LoraProduct.apply
    y = product(x.reshape(-1, x.shape[-1]), base.weight, base.bias, a, b, layer.scaling[names[0]])
    return y.view(*x.shape[:-1], -1)  # type: ignore[no-any-return]
