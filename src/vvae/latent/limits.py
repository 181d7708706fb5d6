"""How far a knob may be asked to turn: by itself, for a command line must know it at once."""

from __future__ import annotations

__all__ = ["MOST_CANDIDATES", "STRONGEST"]

MOST_CANDIDATES = 32
"""Replies that may be written to a message, for one to be chosen."""
STRONGEST = 10.0
"""The largest strength, to either side."""
