"""How long people wait: before they answer, and between the messages of a burst.

Learnt from the times of an export, by speaker; by the length of the message that comes (who writes
more takes longer) and by the part of the day (at night answers are slow). What too little is known
of is taken from everybody. A draw is one of the silences seen, keyed, so that it comes again.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime

from vvae.core.dialogue import Dialogue, Turn
from vvae.core.random import index_below

__all__ = ["Pauses"]

LEAST = 30
"""Silences of a kind from which one of a speaker's own is drawn."""
LENGTHS = (15, 40)
"""Characters from which a message is medium, and long."""
EVERYBODY = ""


class Pauses:
    """The silences before replies and within bursts, of some dialogues.

    Args:
        dialogues: those with times to the second are learnt from; where all stand at whole minutes,
            the export tells no seconds, and nothing is learnt.

    Example:
        >>> from vvae.core.dialogue import Message
        >>> at = lambda second: Message("ok", time=f"2024-05-01T12:00:{second:02d}")
        >>> turns = [Turn(i, "ab"[i % 2], (at(20 * i), at(20 * i + 3))) for i in range(3)]
        >>> pauses = Pauses([Dialogue(str(d), tuple(turns)) for d in range(20)])
        >>> pauses.draw("a", ["ok", "ok"], 12, "key")
        (17.0, 3.0)
    """

    def __init__(self, dialogues: Iterable[Dialogue]) -> None:
        self._before: dict[tuple[str, int], array[float]] = defaultdict(lambda: array("d"))
        self._within: dict[tuple[str, int], array[float]] = defaultdict(lambda: array("d"))
        self._to_the_second = False
        for dialogue in dialogues:
            last: datetime | None = None
            for turn in dialogue.turns:
                last = self._see(turn, last)

    def _see(self, turn: Turn, last: datetime | None) -> datetime | None:
        for number, message in enumerate(turn.messages):
            at = _read(message.time)
            if at is None:
                return None
            self._to_the_second |= at.second != 0
            if last is not None and (last.tzinfo is None) == (at.tzinfo is None):
                seconds = (at - last).total_seconds()
                place = _length(message.text) if number else at.hour // 6
                kept = self._within if number else self._before
                if seconds >= 0:
                    for who in (turn.speaker, EVERYBODY):
                        kept[who, place].append(seconds)
            last = at
        return last

    @property
    def known(self) -> bool:
        """Return whether anything was learnt."""
        return self._to_the_second and bool(self._before)

    def draw(
        self, speaker: str, messages: Sequence[str], hour: int, *key: str | int
    ) -> tuple[float, ...]:
        """Return the seconds before each message of a reply: the first before the answer, the
        others within the burst. Empty where nothing is known.

        Args:
            hour: of the day, from 0.
            key: what the draws belong to.
        """
        if not self.known:
            return ()
        places = [
            (self._within, _length(text)) if number else (self._before, hour // 6)
            for number, text in enumerate(messages)
        ]
        return tuple(
            self._one(kept, speaker, place, *key, number)
            for number, (kept, place) in enumerate(places)
        )

    def _one(
        self,
        kept: dict[tuple[str, int], array[float]],
        speaker: str,
        place: int,
        *key: str | int,
    ) -> float:
        own = kept.get((speaker, place), ())
        seen = own if len(own) >= LEAST else kept.get((EVERYBODY, place), ())
        return round(seen[index_below(len(seen), "pause", *key)], 1) if seen else 0.0


def _length(text: str) -> int:
    return sum(len(text) >= least for least in LENGTHS)


def _read(time: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(time) if time else None
    except ValueError:
        return None
