"""Cheap arithmetic computed again in the backward pass, so that its results need not be kept.

Of a layer's activations the norms (in fp32) and the product inside a gated MLP take half the
memory and hardly any of the time. What is computed again is the model's own code on the same
numbers, so values and gradients are those of the model as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

__all__ = ["Recomputed", "Remade", "as_in_forward", "forgetful_norms", "origin"]


class as_in_forward:  # noqa: N801 - a context manager, named as one
    """A context in which the backward pass computes as the forward pass did: autocast or none."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._enabled = torch.is_autocast_enabled(device)
        self._dtype = torch.get_autocast_dtype(device)

    def __enter__(self) -> None:
        self._contexts = (
            torch.enable_grad(),
            torch.autocast(self._device, dtype=self._dtype, enabled=self._enabled),
        )
        for context in self._contexts:
            context.__enter__()

    def __exit__(self, *error: Any) -> None:
        for context in reversed(self._contexts):
            context.__exit__(*error)


class Remade:
    """A tensor that is not kept but made again from another one, once for all who need it."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor], device: str) -> None:
        self.function, self._again = function, as_in_forward(device)
        self._value: torch.Tensor | None = None

    def value(self, source: torch.Tensor) -> torch.Tensor:
        """Return function(source), without a gradient."""
        if self._value is None:
            with self._again, torch.no_grad():
                self._value = self.function(source)
        return self._value

    def gradient(self, source: torch.Tensor, upstream: torch.Tensor) -> torch.Tensor:
        """Return the gradient of the source; the value is needed by nobody after that."""
        self._value = None
        with self._again:
            source = source.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.function(source), source, upstream)
        return gradient


class Recomputed(torch.autograd.Function):
    """A function of one tensor whose weights are frozen; of the forward pass only the tensor is
    kept.
    """

    @staticmethod
    def forward(ctx: Any, source: torch.Tensor, remade: Remade) -> torch.Tensor:
        """Return function(source)."""
        ctx.save_for_backward(source)
        ctx.remade = remade
        return remade.function(source)

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradient of the source."""
        return ctx.remade.gradient(*ctx.saved_tensors, upstream[0]), None


def origin(x: torch.Tensor) -> tuple[torch.Tensor, Remade] | None:
    """Return what a norm's output was made of and how; None where it must be kept itself."""
    return getattr(x, "_made_from", None)


def forgetful_norms(model: torch.nn.Module) -> None:
    """Let the RMS norms of a model keep their input alone, where gradients are wanted."""
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm") and "forward" not in module.__dict__:
            module.forward = partial(_norm, module)


def _norm(module: Any, x: torch.Tensor, *arguments: Any) -> torch.Tensor:
    own = partial(type(module).forward, module)
    frozen = not any(parameter.requires_grad for parameter in module.parameters())
    if arguments or not frozen or not (torch.is_grad_enabled() and x.requires_grad):
        return own(x, *arguments)  # type: ignore[no-any-return]
    remade = Remade(own, x.device.type)
    result: Any = Recomputed.apply(x, remade)  # type: ignore[no-untyped-call]
    result._made_from = x.detach(), remade
    return result  # type: ignore[no-any-return]
