"""Counter-based randomness: a draw is a pure function of its key.

Nothing here holds state, so a result does not depend on the order of the draws, on how the
work is split, or on where a run was resumed. BLAKE2b is specified by RFC 7693 and does not change
between versions, unlike the hash functions of data engines.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

__all__ = ["bits64", "index_below", "shuffled", "uniform"]

T = TypeVar("T")


def bits64(*key: str | int) -> int:
    """Return 64 uniform bits for a key.

    Each part is written with its type and its length, so ("ab", "c") and ("a", "bc"), or 1 and "1",
    differ.
    """
    encoded = (
        (b"i" if isinstance(part, int) else b"s", str(part).encode("utf-8", "surrogatepass"))
        for part in key
    )
    material = b"".join(kind + len(text).to_bytes(4, "big") + text for kind, text in encoded)
    return int.from_bytes(blake2b(material, digest_size=8).digest(), "big")


def uniform(*key: str | int) -> float:
    """Return a float in [0, 1) for a key, with 53 random bits."""
    return (bits64(*key) >> 11) * 2.0**-53


def index_below(n: int, *key: str | int) -> int:
    """Return an integer in [0, n) for a key, by a 64 x 64 -> 128 bit multiplication (bias below n /
    2**64).

    Raises:
        ValueError: n is not positive.
    """
    if n <= 0:
        raise ValueError("index_below needs a positive n")
    return (bits64(*key) * n) >> 64


def shuffled(items: Sequence[T], *key: str | int, name: Sequence[str] | None = None) -> list[T]:
    """Return the items ordered by a keyed draw of each one's name (its text by default).

    An item's place relative to the others does not depend on where it stood before.
    """
    names = name if name is not None else [str(item) for item in items]
    order = sorted(range(len(items)), key=lambda i: (bits64(*key, names[i]), names[i]))
    return [items[i] for i in order]
