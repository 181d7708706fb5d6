"""The reference: the whole (N, N) mask. It knows everything that a model may ask of attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from vvae.decoder.trees import visible

if TYPE_CHECKING:
    from vvae.decoder.trees import TreeBatch

__all__ = ["DenseKernel"]


class DenseKernel:
    """A kernel with a dense mask: the library's attention, or plain products under a soft cap."""

    name = "dense"

    def refuses(self, config: Any) -> str | None:
        """Refuse nothing."""
        return None

    def plan(self, batch: TreeBatch, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
        """Return the mask, (N, N): true where the row attends to the column."""
        return torch.from_numpy(visible(batch.preorder, batch.subtree_end)).to(device)

    def attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        plan: torch.Tensor,
        *,
        scaling: float,
        softcap: float | None,
        dropout: float,
    ) -> torch.Tensor:
        """Return attention as `AttentionKernel.attend`; a soft cap c makes c tanh(scores / c)."""
        groups = query.shape[1] // key.shape[1]
        if groups > 1:
            key, value = (x.repeat_interleave(groups, 1) for x in (key, value))
        if not softcap:
            return scaled_dot_product_attention(
                query, key, value, attn_mask=plan, scale=scaling, dropout_p=dropout
            ).transpose(1, 2)
        scores = query @ key.transpose(2, 3) * scaling
        scores = torch.tanh(scores / softcap) * softcap
        weights = scores.masked_fill(~plan, float("-inf")).softmax(-1, dtype=torch.float32)
        weights = torch.nn.functional.dropout(weights.to(query.dtype), dropout)
        return (weights @ value).transpose(1, 2)
