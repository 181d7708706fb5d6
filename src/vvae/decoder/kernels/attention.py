"""Attention over prefix trees: one seam for all kernels, and the only place that chooses one.

A kernel is a file beside this one with a class that has `plan` (what it needs of a batch, made once
for all layers) and `attend`. It is plugged into transformers by the public attention interface
under `NAME`; without a plan, as in generation, attention is the library's own. `dense` is the
reference that a test holds every kernel against, values and gradients.

    dense   the (N, N) mask and the library's fused kernel; for whatever others cannot do
    blocks  rows by 96 and the columns that any of them sees; on a CPU
    flex    FlexAttention with a block mask; on CUDA
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch

from vvae.decoder.kernels.blocks import BlocksKernel
from vvae.decoder.kernels.dense import DenseKernel
from vvae.decoder.kernels.flex import FlexKernel

if TYPE_CHECKING:
    from vvae.decoder.trees import TreeBatch

__all__ = ["KERNELS", "NAME", "AttentionKernel", "Planned", "choose", "register"]

NAME = "vvae_tree"


class AttentionKernel(Protocol):
    """A kernel that computes attention over a batch of trees."""

    name: str

    def refuses(self, config: Any) -> str | None:
        """Return why a model of this config cannot use it; None where it can."""
        ...

    def plan(self, batch: TreeBatch, device: torch.device, dtype: torch.dtype) -> Any:
        """Return what `attend` needs of a batch; it is made once for all layers."""
        ...

    def attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        plan: Any,
        *,
        scaling: float,
        softcap: float | None,
        dropout: float,
    ) -> torch.Tensor:
        """Return softmax(q k' scaling) v over what each token sees.

        Shapes: query (1, H, N, D), key and value (1, G, N, D) with H a multiple of G; the result is
        (1, N, H, D).
        """
        ...


class Planned(NamedTuple):
    """A kernel and its plan, on their way through the model to each of its layers."""

    kernel: AttentionKernel
    plan: Any


KERNELS: dict[str, AttentionKernel] = {
    kernel.name: kernel for kernel in (DenseKernel(), BlocksKernel(), FlexKernel())
}


def choose(device: torch.device, config: Any) -> tuple[AttentionKernel, str | None]:
    """Return the kernel for a device and a model's config, and why it is not the fastest, if so."""
    kernel = KERNELS[{"cpu": "blocks", "cuda": "flex"}.get(device.type, "dense")]
    reason = kernel.refuses(config)
    return (kernel, None) if reason is None else (KERNELS["dense"], f"{kernel.name}: {reason}")


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    planned: Planned | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if planned is None:
        output = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return output[0], None
    result = planned.kernel.attend(
        query,
        key,
        value,
        planned.plan,
        scaling=query.shape[-1] ** -0.5 if scaling is None else scaling,
        softcap=kwargs.get("softcap"),
        dropout=dropout,
    )
    return result, None


def register() -> str:
    """Make this attention known to transformers; return its name there."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    return NAME
