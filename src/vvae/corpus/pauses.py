"""How long people wait: before they answer, and between the messages of a burst.

Learnt from the times of an export, by speaker; by the length of the message that comes (who writes
more takes longer) and by the part of the day (at night answers are slow). What too little is known
of is taken from the person at all lengths and hours, then from everybody. A draw is one of the
silences seen, keyed, so that it comes again in the same part of the day.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from vvae.core.dialogue import Dialogue
from vvae.core.random import index_below

__all__ = ["Pauses"]

LEAST = 30
"""Silences of a kind from which one of a speaker's own is drawn."""
LENGTHS = (15, 40)
"""Characters from which a message is medium, and long."""
EVERYBODY = ""
ANY = -1
"""In place of a length or a part of the day: all of them."""


class Pauses:
    """The silences before replies and within bursts, of some dialogues.

    Args:
        dialogues: those with times to the second are learnt from; one in which all stand at whole
            minutes tells no seconds, and is left out.

    Example:
        >>> from vvae.core.dialogue import Message, Turn
        >>> at = lambda second: Message("ok", time=f"2024-05-01T12:00:{second:02d}")
        >>> turns = [Turn(i, "ab"[i % 2], (at(20 * i), at(20 * i + 3))) for i in range(3)]
        >>> pauses = Pauses([Dialogue(str(d), tuple(turns)) for d in range(20)])
        >>> pauses.draw("a", ["ok", "ok"], 12, "key")
        (17.0, 3.0)
    """

    def __init__(self, dialogues: Iterable[Dialogue]) -> None:
        self._before: dict[tuple[str, int], array[float]] = defaultdict(lambda: array("d"))
        self._within: dict[tuple[str, int], array[float]] = defaultdict(lambda: array("d"))
        for dialogue in dialogues:
            times = [_read(m.time) for turn in dialogue.turns for m in turn.messages]
            if any(at is not None and at.second for at in times):
                self._see(dialogue, iter(times))

    def _see(self, dialogue: Dialogue, times: Iterator[datetime | None]) -> None:
        last: datetime | None = None
        for turn in dialogue.turns:
            for number, message in enumerate(turn.messages):
                at = next(times)
                if at and last and (last.tzinfo is None) == (at.tzinfo is None):
                    seconds = (at - last).total_seconds()
                    # When it was said, not when it was answered: that is what is known when asked.
                    place = _length(message.text) if number else last.hour // 6
                    kept = self._within if number else self._before
                    for who in (turn.speaker, EVERYBODY) if seconds >= 0 else ():
                        for where in (place, ANY):
                            kept[who, where].append(seconds)
                last = at

    @property
    def known(self) -> bool:
        """Return whether anything was learnt."""
        return bool(self._before)

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
        own = [kept.get((speaker, where), array("d")) for where in (place, ANY)]
        everybody = [kept.get((EVERYBODY, where), array("d")) for where in (place, ANY)]
        enough = [seen for seen in (*own, *everybody) if len(seen) >= LEAST]
        seen = enough[0] if enough else everybody[1]
        return round(seen[index_below(len(seen), "pause", *key)], 1) if seen else 0.0


def _length(text: str) -> int:
    return sum(len(text) >= least for least in LENGTHS)


def _read(time: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(time) if time else None
    except ValueError:
        return None
