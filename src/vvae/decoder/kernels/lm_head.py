"""The loss of the language-model head, a few rows at a time, so that a large vocabulary does not
fill the memory.

The head is frozen, so the gradient of a row's loss with respect to its hidden state is known as
soon as its logits are:

    loss_i = logsumexp(W h_i) - (W h_i)[t_i]        d loss_i / d h_i = W' (softmax(W h_i) - e_{t_i})

Both are computed chunk by chunk in the forward pass; no logits are kept.

Where no gradient is wanted the loss is a measurement, and the head multiplies in fp32: logits
rounded to bf16 are off by up to a sixteenth.
"""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["HeadLoss", "capped", "rows_at_once"]


def rows_at_once(device: torch.device) -> int:
    """Return how many rows' logits are in memory at once.

    In fp32, for a vocabulary of 150,000, that is 80 MB on a CPU, whose caches a larger product
    would leave, and 620 MB elsewhere, where each product costs a launch.
    """
    return 128 if device.type == "cpu" else 1024


def capped(scores: torch.Tensor, cap: float | None) -> torch.Tensor:
    """Return logits held between -cap and cap, as Gemma does: cap tanh(scores / cap)."""
    return torch.tanh(scores / cap) * cap if cap else scores


class HeadLoss(torch.autograd.Function):
    """A cross-entropy in nats of each row, shape (S,), from hidden states (S, W), head weights (V,
    W), targets (S,).
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        targets: torch.Tensor,
        cap: float | None,
    ) -> torch.Tensor:
        """Return the losses in fp32."""
        losses = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        gradients = torch.empty_like(hidden)
        learns = ctx.needs_input_grad[0]
        if not learns:
            weight = weight.float()
        with torch.autocast(hidden.device.type, enabled=False):
            at_once = rows_at_once(hidden.device)
            for start in range(0, len(hidden), at_once):
                rows = slice(start, start + at_once)
                target = targets[rows, None]
                scores = capped((hidden[rows].to(weight.dtype) @ weight.T).float(), cap)
                logz = scores.logsumexp(-1, keepdim=True)
                losses[rows] = (logz - scores.gather(1, target))[:, 0]
                if learns:
                    slope = (scores - logz).exp_()
                    slope.scatter_add_(1, target, slope.new_full(target.shape, -1.0))
                    if cap:
                        slope *= 1 - (scores / cap) ** 2
                    gradients[rows] = (slope.to(weight.dtype) @ weight).to(hidden.dtype)
        ctx.save_for_backward(gradients)
        return losses

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradient of the hidden states."""
        (gradients,) = ctx.saved_tensors
        return gradients * upstream[0][:, None].to(gradients.dtype), None, None, None
