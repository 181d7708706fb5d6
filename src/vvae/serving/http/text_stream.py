"""A reply's text on its way out: no space around it, nothing from a stop text on."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["TextStream"]


class TextStream:
    """A stream of text that holds back what may still turn out to be the end: white space, and the
    beginning of a stop text.

    >>> stream = TextStream(["END"])
    >>> stream.feed("  so E"), stream.feed("N route "), stream.feed("END ignored")
    ('so', ' EN route', '')
    >>> stream.stopped, stream.rest()
    (True, '')
    """

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held, self._begun = "", False
        self.stopped = False
        """Whether a stop text has come."""

    def feed(self, text: str) -> str:
        """Return what can be sent now that this has been written."""
        if self.stopped:
            return ""
        self._held += text
        if not self._begun:
            self._held = self._held.lstrip()
            self._begun = bool(self._held)
        ends = [place for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if ends:
            self.stopped = True
            ready, self._held = self._held[: min(ends)].rstrip(), ""
            return ready
        safe = len(self._held) - max((self._begins(stop) for stop in self._stops), default=0)
        safe = len(self._held[:safe].rstrip())
        ready, self._held = self._held[:safe], self._held[safe:]
        return ready

    def _begins(self, stop: str) -> int:
        """Characters at the end that may be the beginning of a stop text."""
        return next(
            (
                n
                for n in range(min(len(stop) - 1, len(self._held)), 0, -1)
                if self._held.endswith(stop[:n])
            ),
            0,
        )

    def rest(self) -> str:
        """Return what was held back, once nothing more comes."""
        rest, self._held = self._held.rstrip(), ""
        return rest
