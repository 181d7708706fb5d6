"""Attention over prefix trees, block by block: only what a tree's tokens see is computed.

Of the square of (token, token) pairs of a batch of trees about a quarter is ever seen
(`packing.Block`), and on a CPU the library's fused kernel computes all of it. `TreeAttention`
computes the blocks alone, keeps nothing for the gradient but query, key and value, and gives every
key head to the queries that share it without copies. It is plugged in by the public attention
interface of transformers under `NAME`; without a `Sight`, as in generation, it is the library's
SDPA.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from vvae.decoder.trees import Batch

__all__ = ["NAME", "Sight", "TreeAttention", "register"]

NAME = "vvae_tree"


class Sight(NamedTuple):
    """A block as tensors: `packing.Block` with its mask as a bias, 0 where seen and -inf where not,
    (R, C).
    """

    rows: slice
    columns: tuple[slice, ...]
    bias: torch.Tensor

    @classmethod
    def of(cls, batch: Batch, dtype: torch.dtype) -> tuple[Sight, ...]:
        """The blocks of a batch."""
        return tuple(
            cls(
                slice(*block.rows),
                tuple(slice(*piece) for piece in block.columns),
                torch.zeros(block.visible.shape, dtype=dtype).masked_fill_(
                    torch.from_numpy(~block.visible), float("-inf")
                ),
            )
            for block in batch.blocks
        )

    def seen(self, x: torch.Tensor) -> torch.Tensor:
        """The columns of (heads, N, width)."""
        return (
            torch.cat([x[:, piece] for piece in self.columns], 1)
            if self.columns[1:]
            else x[:, self.columns[0]]
        )

    def probabilities(self, query: torch.Tensor, key: torch.Tensor, scaling: float) -> torch.Tensor:
        """softmax(q k' scaling + bias) for (heads, m R, width) queries and (heads, C,
        width) keys.
        """
        bias = self.bias.repeat(query.shape[1] // len(self.bias), 1)
        return torch.baddbmm(bias, query, key.transpose(1, 2), alpha=scaling).softmax(-1)


class TreeAttention(torch.autograd.Function):
    """softmax(q k' scaling) v where a token sees what its `Sight` shows.

    Shapes: query (1, H, N, D), key and value (1, G, N, D) with H a multiple of G; the result is (1,
        N, H, D).
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float,
        sights: Sequence[Sight],
    ) -> torch.Tensor:
        """The result."""
        ctx.save_for_backward(query, key, value)
        ctx.scaling, ctx.sights = scaling, sights
        _, heads, n, width = query.shape
        shared = key.shape[1]
        with torch.autocast(query.device.type, enabled=False):
            q = query.view(shared, -1, n, width)
            out = query.new_empty(n, shared, heads // shared, width).permute(1, 2, 0, 3)
            for sight in sights:
                some = q[:, :, sight.rows]
                p = sight.probabilities(
                    some.reshape(shared, -1, width), sight.seen(key[0]), scaling
                )
                out[:, :, sight.rows] = torch.bmm(p, sight.seen(value[0])).view(some.shape)
        return out.permute(2, 0, 1, 3).reshape(1, n, heads, width)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """With p = softmax(s), s = q k' scaling: ds = p (dp - sum(p dp)), dp = do v', and the
        products' own rules.
        """
        query, key, value = ctx.saved_tensors
        _, _, n, width = query.shape
        shared = key.shape[1]
        q = query.view(shared, -1, n, width)
        do = gradients[0].view(n, shared, -1, width).permute(1, 2, 0, 3)
        dq = torch.empty_like(q)
        dk, dv = (torch.zeros(shared, n, width, device=query.device) for _ in range(2))
        for sight in ctx.sights:
            some = q[:, :, sight.rows]
            q_, do_ = (x[:, :, sight.rows].reshape(shared, -1, width) for x in (q, do))
            k_, v_ = sight.seen(key[0]), sight.seen(value[0])
            p = sight.probabilities(q_, k_, ctx.scaling)
            ds = torch._softmax_backward_data(torch.bmm(do_, v_.transpose(1, 2)), p, -1, p.dtype)
            dq[:, :, sight.rows] = torch.bmm(ds, k_).view(some.shape)
            of_keys, of_values = (
                torch.bmm(ds.transpose(1, 2), q_),
                torch.bmm(p.transpose(1, 2), do_),
            )
            done = 0
            for piece in sight.columns:
                here = slice(done, done := done + piece.stop - piece.start)
                dk[:, piece] += of_keys[:, here]
                dv[:, piece] += of_values[:, here]
        dq *= ctx.scaling
        dk *= ctx.scaling
        return dq.view(query.shape), dk.to(key.dtype)[None], dv.to(value.dtype)[None], None, None


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sight: Sequence[Sight] = (),
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if not sight or dropout or kwargs.get("softcap"):
        found = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return found[0], None
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    return TreeAttention.apply(query, key, value, scaling, sight), None  # type: ignore[no-untyped-call]


def register() -> str:
    """Makes transformers know this attention; its name there."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    return NAME
