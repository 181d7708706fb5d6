"""SillyTavern's chats: JSONL whose first line is a header and each other a message."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from vvae.core.dialogue import Message
from vvae.corpus.formats import Hints, Malformed, Person, Record, Sent, Skipped
from vvae.corpus.formats.dates import iso_seconds, iso_utc, written
from vvae.corpus.formats.files import LONGEST_RECORD, File
from vvae.corpus.formats.jsonl import json_of, plain_text, storable

__all__ = ["read", "recognise"]

STAMP = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2}) ?@ ?(\d{1,2})h ?(\d{1,2})m ?(\d{1,2})s.*")


def recognise(file: File) -> str | None:
    """Return why a file is SillyTavern's: lines of messages that say if the user wrote them."""
    is_match = {"mes", "is_user"} <= file.keys and file.begins("{")
    return "messages with 'mes' and 'is_user'" if is_match else None


def read(files: Sequence[File], hints: Hints) -> Iterator[Record]:
    """Yield the messages of each file, which is a conversation."""
    for file in files:
        for number, line in file.lines(LONGEST_RECORD):
            if not line.strip():
                continue
            record, where = json_of(line), f"{file.where}:{number}"
            if isinstance(record, str):
                yield Malformed(where, record)
            elif "mes" in record:
                yield _record(record, file, where)
            elif not {"chat_metadata", "user_name", "character_name"} & record.keys():
                yield Malformed(where, "a message without text")


def _record(row: dict[str, Any], file: File, where: str) -> Record:
    text, name = plain_text(row.get("mes")), row.get("name")
    if text is None:
        return Malformed(where, "a message whose text cannot be read")
    extra = row.get("extra")
    told = isinstance(extra, dict) and extra.get("type") == "narrator"
    if row.get("is_system") is True or told:
        return Skipped("system line", text)
    if not isinstance(name, str) or not name.strip():
        return Malformed(where, "a message without sender")
    time = _time(row.get("send_date"))
    message = Message(text, time=time, kind="text" if text.strip() else "media")
    # A conversation is a file: no time, so that no silence cuts it.
    person = Person(storable(name), storable(name))
    return Sent(file.folder or file.stem, person, message, None, thread=file.name)


def _time(value: object) -> str | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and 10**9 < value < 10**14:
        return iso_utc(value / 1000 if value > 10**11 else value)
    if not isinstance(value, str):
        return None
    if match := STAMP.fullmatch(value):
        year, month, day, hour, minute, second = (int(part) for part in match.groups())
        value = f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}"
    if iso_seconds(value) is not None:
        return value
    found = written(value)
    return found[1] if found else None
