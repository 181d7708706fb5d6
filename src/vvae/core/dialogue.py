"""The words of the field: Message, Turn, Dialogue, Pair.

A *turn* is the burst of messages one speaker sends before somebody else speaks. A *pair* (c, x)
is one turn to be predicted, its response x, and the turns before it in the same window, its
context c. The context is looked up, never copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["BURST", "Dialogue", "Message", "Pair", "Reaction", "Turn", "context"]

BURST = "\n"
"""What separates the messages of one turn wherever a turn is written as a single text."""


class Reaction(NamedTuple):
    """An emoji that somebody put on a message."""

    emoji: str
    by: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it was sent. Everything but the text may be unknown (None)."""

    text: str
    id: str | None = None
    time: str | None = None
    """ISO 8601, with an offset only where the export had one."""
    kind: str | None = None
    """text, sticker, media, link, call, system or deleted."""
    reply_to: str | None = None
    reactions: tuple[Reaction, ...] | None = None
    edited: bool | None = None
    present: tuple[str, ...] | None = None
    """Who could read it, in groups whose members came and went."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A burst of consecutive messages of one speaker. The id is given at import and never
    renumbered.
    """

    id: int
    speaker: str
    messages: tuple[Message, ...]

    @property
    def text(self) -> str:
        """Return the burst as one text, a line per message; a line break inside a message is a
        space.
        """
        return BURST.join(" ".join(m.text.split()) for m in self.messages if m.text.strip())


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A conversation of two or more speakers, its turns in order."""

    id: str
    turns: tuple[Turn, ...]
    meta: tuple[tuple[str, str], ...] = ()
    """What the source says of it (prompt, channel, platform), as sorted key-value pairs."""

    @property
    def speakers(self) -> tuple[str, ...]:
        """Return the speakers in order of first appearance."""
        return tuple(dict.fromkeys(turn.speaker for turn in self.turns))

    def get(self, key: str) -> str | None:
        """Return a value of `meta`, or None."""
        return dict(self.meta).get(key)


@dataclass(frozen=True, slots=True)
class Pair:
    """A reply to be predicted: (c, x) with c looked up through `dialogue`, `window`, `turn`."""

    pair_id: str
    dialogue: str
    turn: int
    window: int
    """Id of the first turn of the window the pair lies in."""
    speaker: str
    listeners: tuple[str, ...]
    split: str
    """``train`` or ``heldout``."""
    response: str

    @property
    def listener(self) -> str | None:
        """Return the one listener of a two-party window, or None in a group."""
        return self.listeners[0] if len(self.listeners) == 1 else None


def context(dialogue: Dialogue, pair: Pair) -> Sequence[Turn]:
    """Return the turns of the pair's window that come before its reply."""
    return [turn for turn in dialogue.turns if pair.window <= turn.id < pair.turn]
