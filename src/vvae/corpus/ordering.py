"""Messages in the order of time, where an export has them in another: newest first, or a few out of
their place.
"""

from __future__ import annotations

import pickle
import tempfile
from array import array
from collections.abc import Iterator, Mapping
from typing import IO

import numpy as np

from vvae.corpus.conversations import Unit
from vvae.corpus.formats import Presence, Record, Sent

__all__ = ["in_order"]

IN_MEMORY = 64 << 20
"""Bytes of waiting messages above which they wait in a temporary file without a name."""


def in_order(
    stream: Iterator[tuple[str, Record]], disordered: Mapping[Unit, bool]
) -> Iterator[tuple[str, Record]]:
    """Yield records as they come, but those of the disordered units last, each unit by time.

    Messages of one time keep their order, or turn it round where the unit is told newest first. Who
    came or went, and a message without a time, stays behind the message it stood behind.

    Args:
        stream: (format, record), as `formats.read` yields them.
        disordered: units of a `Survey` in which time runs back, and whether newest comes first.
    """
    if not disordered:
        yield from stream
        return
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as spool:
        waiting = {unit: _Waiting(spool, turned=turned) for unit, turned in disordered.items()}
        for format, record in stream:
            unit = _unit(format, record)
            if unit is not None and unit in waiting:
                waiting[unit].add(format, record)
            else:
                yield format, record
        for kept in waiting.values():
            yield from kept


def _unit(format: str, record: Record) -> Unit | None:
    if isinstance(record, Sent):
        return format, record.chat, record.thread
    return (format, record.chat, None) if isinstance(record, Presence) else None


class _Waiting:
    """The records of one unit, kept in a file that several share; where each stands, in memory."""

    def __init__(self, spool: IO[bytes], *, turned: bool) -> None:
        self._spool, self._turned = spool, turned
        self._times, self._places = array("d"), array("q")

    def add(self, format: str, record: Record) -> None:
        at = getattr(record, "at", None)
        if at is None:
            at = self._times[-1] if self._times else (np.inf if self._turned else -np.inf)
        self._times.append(at)
        self._places.append(self._spool.tell())
        pickle.dump((format, record), self._spool, pickle.HIGHEST_PROTOCOL)

    def __iter__(self) -> Iterator[tuple[str, Record]]:
        numbers = np.arange(len(self._times))
        order = np.lexsort((-numbers if self._turned else numbers, np.array(self._times)))
        for number in order.tolist():
            self._spool.seek(self._places[number])
            yield pickle.load(self._spool)
