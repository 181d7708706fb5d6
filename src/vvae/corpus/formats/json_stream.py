"""JSON exports larger than memory: the parts one asks for, as they come."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from typing import IO, Any, NamedTuple

import ijson

from vvae.core.errors import DataError
from vvae.corpus.formats.files import LONGEST_RECORD, TORN, File

__all__ = ["START", "Part", "broken", "parts", "whole_escapes"]

DEEPEST_PATH = 1000
ESCAPE = re.compile(
    rb"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}|u([dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
"""An escape of JSON: a surrogate pair, half of one (which stands for no character), or any other.
"""
LONGEST_ESCAPE = 12
SECOND_LOOK = 64 << 20
"""Bytes of a broken file that is read once more, to say where it breaks."""
START = object()
"""The value of an object that has just begun."""


class Part(NamedTuple):
    """A value and where it stands: ``chats.list.item.messages.item`` is a message of a chat of a
    list.
    """

    path: str
    value: Any


def parts(file: File, whole: Collection[str], starts: Collection[str] = ()) -> Iterator[Part]:
    """Yield the values at the paths of `whole`, in the order of the file, and `START` where an
    object of `starts` begins.

    Memory is bounded: what is not asked for is passed over, and a single value of more than 16 MB
    is refused.

    Raises:
        DataError: the file is no JSON, or a value in it is too large.
    """
    with file.open() as opened:
        guarded = _Guarded(opened, file.where)
        builder: Any = None
        within = ""
        try:
            for path, event, value in ijson.parse(guarded, use_float=True):
                guarded.bytes_read = 0 if builder is None else guarded.bytes_read
                if len(path) > DEEPEST_PATH:
                    raise DataError(
                        "nested too deeply", where=file.where, fix="this is no export of chat"
                    )
                if builder is not None:
                    builder.event(event, value)
                    if path == within and event in ("end_map", "end_array"):
                        guarded.bytes_read = 0
                        yield Part(path, builder.value)
                        builder = None
                elif path in whole:
                    if event in ("start_map", "start_array"):
                        builder, within = ijson.ObjectBuilder(), path
                        builder.event(event, value)
                    elif event not in ("end_map", "end_array", "map_key"):
                        yield Part(path, value)
                elif event == "start_map" and path in starts:
                    yield Part(path, START)
        except (ijson.JSONError, ValueError, OverflowError, RecursionError) as error:
            raise broken(file, ended="premature EOF" in str(error)) from None


def broken(file: File, *, ended: bool = False) -> DataError:
    """Return the error for a file that is no JSON, with line and column where it is not too large
    for a second look.
    """
    where, reason = file.where, "it ends too early" if ended else "no JSON in UTF-8"
    if file.size <= SECOND_LOOK and not ended:
        try:
            json.loads(file.read(SECOND_LOOK).decode("utf-8-sig"))
        except json.JSONDecodeError as error:
            where = f"{where}:{error.lineno}:{error.colno}"
            reason = f"no JSON from here on ({error.msg.lower()})"
        except (UnicodeDecodeError, RecursionError):
            pass
    fix = "copy or export the file again" if ended else "mend that place, or export again"
    return DataError(reason, where=where, fix=fix)


def whole_escapes(data: bytes) -> bytes:
    """Return JSON in which half a surrogate pair, which stands for no character, is `TORN`."""
    if b"\\u" not in data:
        return data
    return ESCAPE.sub(lambda match: b"\\u%04x" % ord(TORN) if match[2] else match[0], data)


class _Guarded:
    """A stream that refuses to feed the parser without end between two of its events.

    The parser would put a question mark for half a surrogate pair; here it becomes `TORN`, which a
    reader can tell.
    """

    def __init__(self, opened: IO[bytes], where: str) -> None:
        self._opened, self._where = opened, where
        self._buffer = b""
        self._first = True
        self.bytes_read = 0

    def read(self, size: int = -1) -> bytes:
        if self.bytes_read > LONGEST_RECORD:
            fix = "this is no export of chat"
            raise DataError(
                f"a value larger than {LONGEST_RECORD >> 20} MB", where=self._where, fix=fix
            )
        if size == 0:
            return b""
        ended = False
        while not ended and len(self._buffer) <= LONGEST_ESCAPE:
            block = self._opened.read(max(size, 2 * LONGEST_ESCAPE))
            ended = not block
            if self._first:
                block, self._first = block.removeprefix(b"\xef\xbb\xbf"), False
            self.bytes_read += len(block)
            self._buffer += block
        return self._mended(len(self._buffer) - (0 if ended else LONGEST_ESCAPE))

    def _mended(self, limit: int) -> bytes:
        """The bytes up to a place, or up to the end of an escape that stands there; the rest is
        kept.
        """
        pieces: list[bytes] = []
        at = 0
        for match in ESCAPE.finditer(self._buffer):
            if match.start() >= limit:
                break
            if match[2]:
                pieces += [self._buffer[at : match.start()], b"\\u%04x" % ord(TORN)]
                at = match.end()
            elif match.end() > limit:
                pieces.append(self._buffer[at : match.end()])
                at = match.end()
        if at < limit:
            pieces.append(self._buffer[at:limit])
            at = limit
        self._buffer = self._buffer[at:]
        return b"".join(pieces)
