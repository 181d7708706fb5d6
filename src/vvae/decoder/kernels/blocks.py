"""Attention over prefix trees block by block: only what a tree's tokens see is computed.

Of the square of (token, token) pairs of a batch of trees about a quarter is ever seen, and on a CPU
the library's fused kernel computes all of it (1.7 to 2.3 times as long: one layer, forward and
backward, trees of 288 to 899 tokens). `TreeAttention` computes the blocks alone, keeps nothing for
the gradient but query, key and value, and gives every key head to the queries that share it without
copies. In bf16 its scores are rounded before the softmax, as in eager attention; in fp32 it is
exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

if TYPE_CHECKING:
    from vvae.decoder.trees import TreeBatch

__all__ = ["BLOCK_ROWS", "BlocksKernel", "TreeAttention", "VisibleBlock", "visible_blocks"]

BLOCK_ROWS = 96
"""Rows of a block: many enough for fast products, few enough that little is computed in vain."""
GAP = 16
"""Unseen columns between seen ones that cost less than a separate piece."""


class VisibleBlock(NamedTuple):
    """A block of some tokens of a batch and all that any of them sees: R rows, C columns.

    Of the square of (token, token) only a part is ever seen::

        rows         columns seen
        tree 1  ██·  its trunk so far, its own tokens
                █·█
        tree 2     ██·
                   █·█
    """

    rows: slice
    columns: tuple[slice, ...]
    """Pieces of columns, ascending."""
    bias: torch.Tensor
    """(R, C): 0 where the row attends to the column, -inf where not."""

    def seen(self, x: torch.Tensor) -> torch.Tensor:
        """Return the columns of (heads, N, width)."""
        return (
            torch.cat([x[:, piece] for piece in self.columns], 1)
            if self.columns[1:]
            else x[:, self.columns[0]]
        )

    def probabilities(self, query: torch.Tensor, key: torch.Tensor, scaling: float) -> torch.Tensor:
        """Return softmax(q k' scaling + bias) for (heads, m R, width) queries and (heads, C, width)
        keys.
        """
        bias = self.bias.repeat(query.shape[1] // len(self.bias), 1)
        return torch.baddbmm(bias, query, key.transpose(1, 2), alpha=scaling).softmax(-1)


class TreeAttention(torch.autograd.Function):
    """A function softmax(q k' scaling) v where a token sees what its `VisibleBlock` shows.

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
        blocks: Sequence[VisibleBlock],
    ) -> torch.Tensor:
        """Return the result, block by block."""
        ctx.save_for_backward(query, key, value)
        ctx.scaling, ctx.blocks = scaling, blocks
        _, heads, n, width = query.shape
        shared = key.shape[1]
        with torch.autocast(query.device.type, enabled=False):
            q = query.view(shared, -1, n, width)
            out = query.new_empty(n, shared, heads // shared, width).permute(1, 2, 0, 3)
            for block in blocks:
                queries = q[:, :, block.rows]
                p = block.probabilities(
                    queries.reshape(shared, -1, width), block.seen(key[0]), scaling
                )
                out[:, :, block.rows] = torch.bmm(p, block.seen(value[0])).view(queries.shape)
        return out.permute(2, 0, 1, 3).reshape(1, n, heads, width)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of query, key and value: with p = softmax(s), s = q k' scaling: ds =
        p (dp - sum(p dp)), dp = do v', and the products' own rules.
        """
        query, key, value = ctx.saved_tensors
        _, _, n, width = query.shape
        shared = key.shape[1]
        q = query.view(shared, -1, n, width)
        do = gradients[0].view(n, shared, -1, width).permute(1, 2, 0, 3)
        dq = torch.empty_like(q)
        dk, dv = (torch.zeros(shared, n, width, device=query.device) for _ in range(2))
        for block in ctx.blocks:
            queries = q[:, :, block.rows]
            q_, do_ = (x[:, :, block.rows].reshape(shared, -1, width) for x in (q, do))
            k_, v_ = block.seen(key[0]), block.seen(value[0])
            p = block.probabilities(q_, k_, ctx.scaling)
            ds = torch._softmax_backward_data(torch.bmm(do_, v_.transpose(1, 2)), p, -1, p.dtype)
            dq[:, :, block.rows] = torch.bmm(ds, k_).view(queries.shape)
            of_keys, of_values = (
                torch.bmm(ds.transpose(1, 2), q_),
                torch.bmm(p.transpose(1, 2), do_),
            )
            offset = 0
            for piece in block.columns:
                span = slice(offset, offset := offset + piece.stop - piece.start)
                dk[:, piece] += of_keys[:, span]
                dv[:, piece] += of_values[:, span]
        dq *= ctx.scaling
        dk *= ctx.scaling
        return dq.view(query.shape), dk.to(key.dtype)[None], dv.to(value.dtype)[None], None, None


def visible_blocks(batch: TreeBatch, dtype: torch.dtype) -> Iterator[VisibleBlock]:
    """Yield the blocks of a batch, tree by tree: all rows in order."""
    for first, end in zip(batch.starts[:-1], batch.starts[1:], strict=True):
        numbers, ends = batch.preorder[first:end], batch.subtree_end[first:end]
        for start in range(0, end - first, BLOCK_ROWS):
            rows = numbers[start : start + BLOCK_ROWS, None]
            sees = (numbers[None] <= rows) & (rows < ends[None])
            visible = np.flatnonzero(sees.any(0))
            breaks = np.flatnonzero(np.diff(visible) > GAP)
            pieces = [
                (int(a), int(b) + 1)
                for a, b in zip(visible[[0, *breaks + 1]], visible[[*breaks, -1]], strict=True)
            ]
            hidden = torch.from_numpy(~np.concatenate([sees[:, a:b] for a, b in pieces], axis=1))
            bias = torch.zeros(hidden.shape, dtype=dtype).masked_fill_(hidden, float("-inf"))
            begin = int(first) + start
            columns = tuple(slice(int(first) + a, int(first) + b) for a, b in pieces)
            yield VisibleBlock(slice(begin, begin + len(rows)), columns, bias)


class BlocksKernel:
    """A kernel that puts `TreeAttention` behind the seam."""

    name = "blocks"

    def refuses(self, config: Any) -> str | None:
        """Refuse soft caps and dropout in attention."""
        if getattr(config, "attn_logit_softcapping", None):
            return "attention with a soft cap is computed with a dense mask"
        if getattr(config, "attention_dropout", 0.0):
            return "attention with dropout is computed with a dense mask"
        return None

    def plan(
        self, batch: TreeBatch, device: torch.device, dtype: torch.dtype
    ) -> tuple[VisibleBlock, ...]:
        """Return the blocks of the batch."""
        return tuple(visible_blocks(batch, dtype))

    def attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        plan: Sequence[VisibleBlock],
        *,
        scaling: float,
        softcap: float | None,
        dropout: float,
    ) -> torch.Tensor:
        """Return attention as `AttentionKernel.attend`."""
        result: torch.Tensor = TreeAttention.apply(query, key, value, scaling, plan)  # type: ignore[no-untyped-call]
        return result
