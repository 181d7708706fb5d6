"""Numbers as a reader sees them: a dash where there is none, and no minus before a zero."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["number", "percent", "points", "spread"]


def number(value: float | None, digits: int = 2, *, signed: bool = False) -> str:
    """Return a number with so many decimals.

    Example:
        >>> number(-0.001), number(0.25, 1, signed=True), number(None)
        ('0.00', '+0.2', '–')
    """
    return "–" if value is None else f"{value:{'+' if signed else ''}z.{digits}f}"


def percent(share: float | None) -> str:
    """Return a share of one in percent."""
    return "–" if share is None else f"{number(100 * share, 1)} %"


def points(value: float | None) -> str:
    """Return a difference of percentages, with its sign."""
    return number(value, 1, signed=True)


def spread(estimate: Mapping[str, float | None]) -> str:
    """Return the 95 % interval of a difference in points."""
    return f"{points(estimate['low'])} … {points(estimate['high'])}"
