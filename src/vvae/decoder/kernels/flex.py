"""Attention over prefix trees by FlexAttention, for CUDA.

There is no (N, N) mask, and tiles that nobody sees are skipped.

Who sees whom is computed inside the kernel from two integers a token (`vvae.decoder.trees`); which
tiles of 128 by 128 tokens hold anything is found out here, tree by tree, so that the work grows
with the sum of the trees' squares.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vvae.decoder.ahead import on_device

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

    from vvae.decoder.trees import TreeBatch

__all__ = ["TILE", "FlexKernel", "tiles"]

TILE = 128
"""Tokens of a tile's side, as the compiled kernel wants them."""


class FlexKernel:
    """A kernel that puts FlexAttention behind the seam; on CUDA compiled, for all lengths."""

    name = "flex"

    def refuses(self, config: Any) -> str | None:
        """Refuse dropout in attention, and heads that the kernel is not made for."""
        if getattr(config, "attention_dropout", 0.0):
            return "attention with dropout is computed with a dense mask"
        heads = getattr(config, "num_attention_heads", 1)
        width = getattr(config, "head_dim", None) or config.hidden_size // heads
        if width < 16 or width > 256:
            return f"heads of width {width} are computed with a dense mask"
        return None

    def plan(self, batch: TreeBatch, device: torch.device, dtype: torch.dtype) -> FlexPlan:
        """Return which tiles are seen, and the integers of the rule inside them."""
        numbers, ends = (
            on_device(array.astype(np.int32), device)
            for array in (batch.preorder, batch.subtree_end)
        )
        return FlexPlan(numbers, ends, *(on_device(mask, device) for mask in tiles(batch)))

    def attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        plan: FlexPlan,
        *,
        scaling: float,
        softcap: float | None,
        dropout: float,
    ) -> torch.Tensor:
        """Return attention as `AttentionKernel.attend`; a soft cap c makes c tanh(scores / c)."""
        run = _kernel(query.device.type == "cuda")
        capped = _capped(softcap) if softcap else None
        output: torch.Tensor = run(
            query,
            key,
            value,
            score_mod=capped,
            block_mask=plan.mask,
            scale=scaling,
            enable_gqa=True,
        )
        return output.transpose(1, 2)


class FlexPlan:
    """A plan whose block mask is made when it is first asked for.

    The library's constructor changes global state that compilation reads, so it must not run in a
    thread beside it.
    """

    def __init__(
        self, numbers: torch.Tensor, ends: torch.Tensor, partial: torch.Tensor, full: torch.Tensor
    ) -> None:
        self._numbers, self._ends, self._partial, self._full = numbers, ends, partial, full

    @cached_property
    def mask(self) -> BlockMask:
        """Return the block mask: full tiles, tiles to look into, and the rule inside them."""
        from torch.nn.attention.flex_attention import BlockMask

        numbers, ends, n = self._numbers, self._ends, len(self._numbers)

        def sees(b: Any, h: Any, i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
            return (numbers[j] <= numbers[i]) & (numbers[i] < ends[j])

        partial, full = self._partial[None, None], self._full[None, None]
        return BlockMask.from_kv_blocks(
            partial.sum(-1, dtype=torch.int32),
            _ordered(partial),
            full.sum(-1, dtype=torch.int32),
            _ordered(full),
            BLOCK_SIZE=TILE,
            mask_mod=sees,
            seq_lengths=(n, n),
        )


def tiles(batch: TreeBatch) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return which tiles are seen in part and which wholly, each (rows, columns) of tiles."""
    n = len(batch.ids)
    side = -(-n // TILE)
    partial, full = (np.zeros((side, side), dtype=np.bool_) for _ in range(2))
    numbers, ends = batch.preorder, batch.subtree_end
    # A tile of rows sees nothing outside of the trees that its rows are of.
    first_tree = np.searchsorted(batch.starts, np.arange(0, n, TILE), side="right") - 1
    last_tree = np.searchsorted(batch.starts, np.minimum(np.arange(TILE, n + TILE, TILE), n)) - 1
    for row in range(side):
        rows = numbers[row * TILE : (row + 1) * TILE, None]
        low = int(batch.starts[first_tree[row]]) // TILE
        high = -(-int(batch.starts[last_tree[row] + 1]) // TILE)
        columns = slice(low * TILE, min(high * TILE, n))
        sees = (numbers[None, columns] <= rows) & (rows < ends[None, columns])
        edges = np.arange(0, sees.shape[1], TILE)
        counts = np.add.reduceat(sees.sum(0), edges)
        whole = np.full(len(edges), TILE * TILE)  # a tile cut short by the end is never full
        partial[row, low:high] = (counts > 0) & (counts < whole)
        full[row, low:high] = counts == whole
    return partial, full


def _ordered(mask: torch.Tensor) -> torch.Tensor:
    """Return the numbers of each row's tiles, those found first, as the kernel wants them."""
    order = torch.argsort(mask.to(torch.int8), dim=-1, descending=True, stable=True)
    return order.to(torch.int32).contiguous()


@lru_cache(maxsize=4)
def _capped(softcap: float) -> Any:
    def cap(score: torch.Tensor, b: Any, h: Any, i: Any, j: Any) -> torch.Tensor:
        return torch.tanh(score / softcap) * softcap

    return cap


@lru_cache(maxsize=2)
def _kernel(compiled: bool) -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True) if compiled else flex_attention
