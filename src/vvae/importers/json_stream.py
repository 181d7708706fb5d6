"""JSON exports larger than memory: the parts one asks for, as they come."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import IO, Any, NamedTuple

import ijson

from vvae.errors import DataError
from vvae.importers.files import LONGEST_RECORD, File

__all__ = ["START", "Part", "parts"]

DEEPEST_PATH = 1000
START = object()
"""The value of an object that has just begun."""


class Part(NamedTuple):
    """A value and where it stands: ``chats.list.item.messages.item`` is a message of a chat of a list."""

    path: str
    value: Any


def parts(file: File, whole: Collection[str], starts: Collection[str] = ()) -> Iterator[Part]:
    """The values at the paths of `whole`, in the order of the file, and `START` where an object of `starts` begins.

    Memory is bounded: what is not asked for is passed over, and a single value of more than 16 MB is refused.

    Raises:
        DataError: the file is no JSON, or a value in it is too large.
    """
    with file.open() as opened:
        guarded = _Guarded(opened, file.where)
        builder: Any = None
        within = ""
        try:
            for path, event, value in ijson.parse(guarded, use_float=True):
                guarded.taken = 0 if builder is None else guarded.taken
                if len(path) > DEEPEST_PATH:
                    raise DataError("nested too deeply", where=file.where, fix="this is no export of chat")
                if builder is not None:
                    builder.event(event, value)
                    if path == within and event in ("end_map", "end_array"):
                        guarded.taken = 0
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
            reason = "it ends too early" if isinstance(error, ijson.IncompleteJSONError) else "no JSON in UTF-8"
            raise DataError(reason, where=file.where, fix="export it again") from None


class _Guarded:
    """A stream that refuses to feed the parser without end between two of its events."""

    def __init__(self, opened: IO[bytes], where: str) -> None:
        self._opened, self._where = opened, where
        self._first = True
        self.taken = 0

    def read(self, size: int = -1) -> bytes:
        if self.taken > LONGEST_RECORD:
            fix = "this is no export of chat"
            raise DataError(f"a value larger than {LONGEST_RECORD >> 20} MB", where=self._where, fix=fix)
        block = self._opened.read(size)
        if self._first:
            block, self._first = block.removeprefix(b"\xef\xbb\xbf"), False
        self.taken += len(block)
        return block
