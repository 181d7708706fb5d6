"""The key-value cache of continuous batching: rows of one buffer, right-aligned, so that replies
come and go.

All rows end in the same column, whatever their length; a new token is written there for all at
once. A reply that ends leaves its row to another, whose prompt is laid down so that it ends in that
column too::

    column   0 1 2 3 4 5 6 7 8      row 1 has ended and          0 1 2 3 4 5 6 7 8 9
    row 0        a a a a a a        another prompt comes:    row 0       a a a a a a a
    row 1              b b b                                 row 1           c c c c c
                       end ┘                                               end ┘

Nothing is copied from step to step, and no batch waits for its longest reply.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from transformers import Cache
from transformers.cache_utils import DynamicLayer

__all__ = ["RowCache"]


class _RowLayer(DynamicLayer):  # type: ignore[misc]
    """One layer's keys and values, each (rows, heads, columns, width),
    allocated when first used.
    """

    def __init__(self, cache: RowCache) -> None:
        super().__init__()
        self.is_initialized = False
        self._cache = cache

    def allocate(self, keys: torch.Tensor) -> None:
        if not self.is_initialized:
            _, heads, _, width = keys.shape
            shape = (self._cache.rows, heads, self._cache.columns, width)
            self.keys, self.values = keys.new_zeros(shape), keys.new_zeros(shape)
            self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Writes one token of each row in use; returns what they see."""
        used, start, end = self._cache.used, self._cache.start, self._cache.end
        views = []
        for store, new in ((self.keys, key_states), (self.values, value_states)):
            store[:used, :, end : end + 1] = new
            views.append(store[:used, :, start : end + 1])
        return views[0], views[1]

    def get_seq_length(self) -> int:
        """Columns seen before the token that comes."""
        return self._cache.end - self._cache.start


class RowCache(Cache):  # type: ignore[misc]
    """A cache of `rows` rows and `columns` columns; `used` rows are in use, all of them ending
    before column `end`.
    """

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__(layer_class_to_replicate=partial(_RowLayer, self))
        self.rows, self.columns = rows, columns
        self.used, self.end, self.start = 0, 0, 0

    def admit(self, prompts: Cache, copies: Sequence[int], columns: torch.Tensor) -> None:
        """Give the next free rows to prompts that were read.

        Args:
            prompts: keys and values of some prompts, in rows of their own.
            copies: for each new row the prompt that it begins with; several may begin alike.
            columns: (prompts, width), where each prompt's tokens stand in its row of `prompts`,
                right-aligned; what is left of them is never seen.
        """
        new, width = len(copies), columns.shape[1]
        places = torch.tensor(copies, device=columns.device)
        columns = columns[places]
        if not self.used:
            self.start, self.end = 0, width
        elif width > self.end:
            self._move(self.end - self.start, width)
        self.start = min(self.start, self.end - width)
        for number, source in enumerate(prompts.layers):
            if number == len(self.layers):
                self.layers.append(_RowLayer(self))
            layer = self.layers[number]
            layer.allocate(source.keys)
            rows, free = slice(self.used, self.used + new), slice(self.end - width, self.end)
            for store, read in ((layer.keys, source.keys), (layer.values, source.values)):
                # (new, width, heads, head width), as two index tensors come first
                store[rows, :, free] = read[places[:, None], :, columns].transpose(1, 2)
        self.used += new

    def see(self, longest: int) -> None:
        """Set what is seen by rows in use that are `longest` at the most, and make room where the
        columns are used up.
        """
        if self.end == self.columns:
            self._move(longest, longest)
        self.start = self.end - longest

    def _move(self, longest: int, end: int) -> None:
        """Lays the rows in use down anew so that they end before another column."""
        for layer in self.layers:
            for store in (layer.keys, layer.values):
                store[: self.used, :, end - longest : end] = store[
                    : self.used, :, self.end - longest : self.end
                ].clone()
        self.start, self.end = end - longest, end

    def advance(self) -> None:
        """Note that one token was written in every row in use."""
        self.end += 1

    def keep(self, rows: Sequence[int]) -> list[int]:
        """Keep only these rows (ascending); return them in their new order."""
        order = list(rows)
        holes = sorted(set(range(len(order))) - set(order))
        movers = order[len(order) - len(holes) :]
        if holes:
            for layer in self.layers:
                for store in (layer.keys, layer.values):
                    store[holes] = store[movers]
        self.used = len(order)
        moved = dict(zip(holes, movers, strict=True))
        return [moved.get(row, row) for row in range(len(order))]
