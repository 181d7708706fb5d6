"""ChatLab's exchange format 0.0.x, in which exporters write WeChat, QQ and other chats: JSON or
JSONL.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from vvae.core.dialogue import Message
from vvae.corpus.formats import Hints, Malformed, Person, Record, Sent, Skipped
from vvae.corpus.formats.dates import iso_utc
from vvae.corpus.formats.files import LONGEST_RECORD, File
from vvae.corpus.formats.json_stream import parts
from vvae.corpus.formats.jsonl import json_of, plain_text

__all__ = ["read", "recognise", "transcript"]

KINDS = {
    0: "text",
    1: "image",
    2: "audio",
    3: "video",
    4: "file",
    5: "sticker",
    7: "link",
    8: "location",
    20: "media",
    21: "media",
    22: "system",
    23: "call",
    24: "link",
    25: "text",
    26: "text",
    27: "contact",
    80: "system",
    81: "deleted",
    99: "media",
}
FORWARD = 26
PATH = re.compile(r"\S*\.(?:mp3|wav|ogg|opus|amr|silk|m4a|aac)", re.IGNORECASE)


def recognise(file: File) -> str | None:
    """Return why a file is ChatLab's: JSON that begins with a `chatlab` object, or lines of which
    the first is a header.
    """
    return "it says 'chatlab' and a version" if {"chatlab", "version"} <= file.keys else None


def read(files: Sequence[File], hints: Hints) -> Iterator[Record]:
    """Yield the messages of each file; a file is a chat."""
    for file in files:
        yield from _Chat(file).read()


def transcript(text: str) -> str:
    """Return the words of a voice message, where the export has them; what stands in brackets is
    the app's.
    """
    return re.sub(r"^(?:\[[^\[\]]{0,60}\]\s*)+", "", text) if not PATH.fullmatch(text) else ""


class _Chat:
    def __init__(self, file: File) -> None:
        self._file, self.name, self.group = file, file.chat, False
        self._names: dict[str, str] = {}

    def read(self) -> Iterator[Record]:
        lines = self._file.begins("#") or "_type" in self._file.keys
        for what, value in self._lines() if lines else self._parts():
            if isinstance(value, str):
                yield Malformed(self._file.where, value)
            elif what == "message":
                yield self._record(value)
            elif what == "member":
                name = (
                    value.get("groupNickname")
                    or value.get("accountName")
                    or value.get("platformId")
                )
                self._names[str(value.get("platformId"))] = str(name)
            elif what == "meta":
                self.group = value.get("type") == "group"

    def _parts(self) -> Iterator[tuple[str, dict[str, Any] | str]]:
        for path, value in parts(self._file, {"meta", "members.item", "messages.item"}):
            what = path.split(".")[0].rstrip("s")
            yield what, value if isinstance(value, dict) else f"a {what} that is no object"

    def _lines(self) -> Iterator[tuple[str, dict[str, Any] | str]]:
        for _, line in self._file.lines(LONGEST_RECORD):
            if not line.strip() or line.startswith("#"):
                continue
            record = json_of(line)
            if isinstance(record, str):
                yield "message", record
            elif record.get("_type") == "header":
                meta = record.get("meta")
                yield "meta", meta if isinstance(meta, dict) else {}
            else:
                yield str(record.get("_type")), record

    def _record(self, message: dict[str, Any]) -> Record:
        sender, time, number = message.get("sender"), message.get("timestamp"), message.get("type")
        if not isinstance(sender, str) or not sender:
            return Malformed(self._file.where, "a message without sender")
        if not isinstance(time, int | float) or not 0 <= time < 10**11:
            return Malformed(self._file.where, "a message without time")
        kind = KINDS.get(number, "media") if isinstance(number, int) else "text"
        if kind == "system":
            return Skipped("system line", str(message.get("content") or ""))
        content = message.get("content")
        text = plain_text("" if content is None or kind in ("deleted", "call") else content)
        if text is None:
            return Malformed(self._file.where, "a message whose text cannot be read")
        shown = text
        if kind == "audio":
            text = transcript(text)
        elif kind not in ("text", "link"):
            text = ""  # a file's name or a placeholder such as [动画表情], nothing that was said
        own, reply = message.get("platformMessageId"), message.get("replyToMessageId")
        name = self._names.get(sender) or str(
            message.get("groupNickname") or message.get("accountName") or sender
        )
        body = Message(
            text,
            id=str(own) if own is not None else None,
            time=iso_utc(time),
            kind=kind if text or kind != "text" else "media",
            reply_to=str(reply) if reply is not None else None,
        )
        return Sent(
            self.name,
            Person(sender, name),
            body,
            float(time),
            group=self.group,
            forwarded=number == FORWARD,
            shown="" if shown == text else shown,
        )
