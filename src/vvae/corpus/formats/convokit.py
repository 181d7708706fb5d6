"""A ConvoKit corpus: utterances.jsonl beside speakers.json and others. Conversations are given,
none is cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from vvae.core.dialogue import Message
from vvae.corpus.formats import Hints, Malformed, Person, Record, Sent
from vvae.corpus.formats.dates import iso_utc
from vvae.corpus.formats.files import LONGEST_RECORD, File
from vvae.corpus.formats.jsonl import json_of, plain_text

__all__ = ["read", "recognise"]

NUMBER = re.compile(r"[0-9]{1,11}(\.[0-9]{1,9})?")


def recognise(file: File) -> str | None:
    """Return why a file is ConvoKit's: lines of utterances of a conversation."""
    is_match = (
        "conversation_id" in file.keys and {"speaker", "user"} & file.keys and file.begins("{")
    )
    return "utterances with a 'conversation_id'" if is_match else None


def read(files: Sequence[File], hints: Hints) -> Iterator[Record]:
    """Yield the utterances, each conversation a thread."""
    for file in files:
        for number, line in file.lines(LONGEST_RECORD):
            if line.strip():
                record, where = json_of(line), f"{file.where}:{number}"
                yield (
                    Malformed(where, record)
                    if isinstance(record, str)
                    else _record(record, where, file.folder)
                )


def _record(row: dict[str, Any], where: str, corpus: str) -> Record:
    speaker, talk = row.get("speaker", row.get("user")), row.get("conversation_id", row.get("root"))
    text = plain_text(row.get("text") or "")
    if isinstance(speaker, dict):
        speaker = speaker.get("id")
    if not isinstance(speaker, str) or not speaker:
        return Malformed(where, "a message without sender")
    if not isinstance(talk, str) or text is None:
        what = (
            "a message without conversation"
            if text is not None
            else "a message whose text cannot be read"
        )
        return Malformed(where, what)
    own, reply, time = row.get("id"), row.get("reply-to", row.get("reply_to")), row.get("timestamp")
    at = float(str(time)) if NUMBER.fullmatch(str(time)) else None
    body = Message(
        text,
        id=str(own) if own is not None else None,
        time=iso_utc(at) if at is not None else time if isinstance(time, str) else None,
        kind="text" if text else "media",
        reply_to=reply if isinstance(reply, str) else None,
    )
    return Sent(corpus, Person(speaker, speaker), body, at, group=True, thread=talk)
