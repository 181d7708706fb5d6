"""Uniform noise keyed by reply and position, made where the logits are.

The generator is Philox 4x64 with ten rounds (Salmon et al., "Parallel random numbers: as easy as 1,
2, 3", 2011): counter (block, 0, 0, position), key (reply, 0). On a CPU it is NumPy's; elsewhere the
same integers are computed by tensor operations, so that a reply's noise does not depend on the
device, and nothing as large as the vocabulary travels for each token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

__all__ = ["on_device", "uniform_rows"]

_MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
_WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
_ROUNDS = 10
_LOW = 0xFFFFFFFF


def uniform_rows(
    places: Sequence[tuple[int, int]], size: int, device: torch.device
) -> torch.Tensor:
    """Return uniform numbers strictly between 0 and 1, shape (rows, size), fp32.

    Args:
        places: key (64 bits) and position of each row; the same place always gives the same row.
        size: numbers a row.
    """
    import torch

    if device.type != "cpu":
        return on_device(places, size, device)
    rows = [
        np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, position])).random(
            size, dtype=np.float32
        )
        for key, position in places
    ]
    return _inside(torch.from_numpy(np.stack(rows)))


def on_device(places: Sequence[tuple[int, int]], size: int, device: torch.device) -> torch.Tensor:
    """Return what `uniform_rows` does, computed by tensor operations on any device."""
    import torch

    blocks = -(-size // 8)  # four words of 64 bits, two numbers each
    keys, positions = (
        torch.tensor([_signed(place[part]) for place in places], device=device)[:, None]
        for part in (0, 1)
    )
    zero = torch.zeros_like(keys)
    # NumPy counts up before its first block.
    c0, c1, c2, c3 = torch.arange(1, blocks + 1, device=device)[None], zero, zero, positions
    k0, k1 = keys, zero
    for _ in range(_ROUNDS):
        high0, low0 = _product(_MULTIPLIERS[0], c0)
        high1, low1 = _product(_MULTIPLIERS[1], c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = k0 + _signed(_WEYL[0]), k1 + _signed(_WEYL[1])
    halves = [half for word in (c0, c1, c2, c3) for half in (word & _LOW, word >> 32 & _LOW)]
    drawn = torch.stack(halves, -1).reshape(len(places), -1)[:, :size]
    return _inside((drawn >> 8).float() * 2.0**-24)


def _product(factor: int, word: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the high and the low 64 bits of an unsigned product, in 32-bit halves: int64 wraps."""
    factor_high, factor_low = factor >> 32, factor & _LOW
    high, low = word >> 32 & _LOW, word & _LOW
    cross0, cross1 = factor_low * high, factor_high * low
    carry = (factor_low * low >> 32 & _LOW) + (cross0 & _LOW) + (cross1 & _LOW)
    above = factor_high * high + (cross0 >> 32 & _LOW) + (cross1 >> 32 & _LOW) + (carry >> 32)
    return above, word * _signed(factor)


def _signed(word: int) -> int:
    """Return 64 bits as the int64 of the same bits."""
    return word - 2**64 if word >= 2**63 else word


def _inside(uniform: torch.Tensor) -> torch.Tensor:
    """Return numbers of [0, 1) moved off its ends."""
    return uniform * (1 - 2.0**-23) + 2.0**-25
