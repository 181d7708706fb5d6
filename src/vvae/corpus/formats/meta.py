"""Messenger and Instagram ("Download your information", JSON): message_1.json, message_2.json, ...
per chat, newest first.

These files hold UTF-8 whose bytes were written as if each were a character; it is put right.
Messenger's newer export of encrypted chats is a file per chat with other keys and correct text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from vvae.core.dialogue import Message, Reaction
from vvae.core.errors import DataError
from vvae.corpus.formats import Hints, Malformed, Person, Record, Sent, Skipped
from vvae.corpus.formats.dates import iso_utc
from vvae.corpus.formats.files import File
from vvae.corpus.formats.jsonl import storable

__all__ = ["read", "recognise"]

MEDIA = {
    "photos": "image",
    "videos": "video",
    "audio_files": "audio",
    "gifs": "gif",
    "files": "file",
    "sticker": "sticker",
    "share": "link",
}
OWN_WORDS = re.compile(
    r"(?:.{1,80} (?:sent an attachment|sent a photo|sent a video|sent a sticker|sent a voice "
    r"message|sent a GIF)s?\."
    r"|(?:Liked|Reacted .{1,12} to|Disliked|Loved) (?:a|your|the) message ?"
    r"|.{1,80} (?:unsent a message|missed (?:a|your) (?:video )?call.*|started a (?:video "
    r"chat|call).*))",
    re.DOTALL,
)


def recognise(file: File) -> str | None:
    """Return why a file is Messenger's or Instagram's: JSON with participants and messages that
    have sender and milliseconds.
    """
    if {"participants", "sender_name", "timestamp_ms"} <= file.keys:
        return "messages have 'sender_name' and 'timestamp_ms'"
    if {"participants", "senderName", "timestamp"} <= file.keys:
        return "messages have 'senderName' and 'timestamp' (encrypted chats)"
    return None


def read(files: Sequence[File], hints: Hints) -> Iterator[Record]:
    """Yield the messages of each chat, oldest first."""
    chats: dict[str, list[File]] = {}
    for file in files:
        numbered = re.fullmatch(r"message_\d+", file.stem)
        chats.setdefault(file.name.rpartition("/")[0] if numbered else file.name, []).append(file)
    for chat, parts in chats.items():
        for file in reversed(parts):  # message_1 is the newest
            yield from _read(file, chat.rpartition("/")[2] or file.stem)


def _read(file: File, chat: str) -> Iterator[Record]:
    try:
        data = json.loads(file.read())
    except (ValueError, RecursionError):
        raise DataError("no JSON in UTF-8", where=file.where, fix="export it again") from None
    messages = data.get("messages") if isinstance(data, dict) else None
    if not isinstance(messages, list):
        raise DataError(
            "no list 'messages'", where=file.where, fix="is this a chat of Messenger or Instagram?"
        )
    people = data.get("participants")
    group = isinstance(people, list) and len(people) > 2
    for message in reversed(messages):
        if not isinstance(message, dict):
            yield Malformed(file.where, "a message that is no object")
        else:
            yield _record(message, chat, file.where, group=group)


def _record(message: dict[str, Any], chat: str, where: str, *, group: bool) -> Record:
    newer = "senderName" in message
    sender = message.get("senderName" if newer else "sender_name")
    millis = message.get("timestamp" if newer else "timestamp_ms")
    if not isinstance(sender, str) or not sender:
        return Malformed(where, "a message without sender")
    if not isinstance(millis, int) or not 0 < millis < 10**14:
        return Malformed(where, "a message without time")
    mend = storable if newer else _mended
    text = message.get("text" if newer else "content") or ""
    if not isinstance(text, str):
        return Malformed(where, "a message whose text cannot be read")
    text = mend(text)
    kind = next(
        (kind for field, kind in MEDIA.items() if message.get(field)),
        "media" if message.get("media") else "",
    )
    if message.get("is_unsent") or message.get("isUnsent"):
        text, kind = "", "deleted"
    elif "call_duration" in message or message.get("type") == "Call":
        text, kind = "", "call"
    elif OWN_WORDS.fullmatch(text):
        if not kind:
            return Skipped("system line")
        text = ""
    elif message.get("type") in ("Subscribe", "Unsubscribe"):
        return Skipped("somebody came or went")
    time = iso_utc(millis / 1000)
    name = mend(sender)
    entries = [entry for entry in message.get("reactions") or [] if isinstance(entry, dict)]
    reactions = tuple(
        Reaction(mend(str(r.get("reaction", ""))), mend(str(r.get("actor", "")))) for r in entries
    )
    body = Message(
        text, time=time, kind=kind or ("text" if text else "media"), reactions=reactions or None
    )
    return Sent(chat, Person(name, name), body, millis / 1000, group=group)


def _mended(text: str) -> str:
    """Text whose UTF-8 bytes were taken for characters, as it was;
    what is no such text as it is.
    """
    try:
        return storable(text.encode("latin-1").decode("utf-8"))
    except (UnicodeEncodeError, UnicodeDecodeError):
        return storable(text)
