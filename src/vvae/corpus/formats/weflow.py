"""WeFlow's exports of WeChat: JSON with a session and its messages, and TXT with a time and a name
before each message. (Its ChatLab and WeClone exports are those of the formats chatlab and table.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from vvae.core.dialogue import Message
from vvae.corpus.formats import Hints, Malformed, Person, Record, Sent, Skipped
from vvae.corpus.formats.blocks import blocks_of
from vvae.corpus.formats.dates import iso_seconds, iso_utc
from vvae.corpus.formats.files import File, torn
from vvae.corpus.formats.json_stream import parts
from vvae.corpus.formats.jsonl import plain_text
from vvae.corpus.formats.wechat import Quotations, Said, said

__all__ = ["read", "recognise"]

HEADER = re.compile(r"(\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}) '(.*)'")


def recognise(file: File) -> str | None:
    """Return why a file is WeFlow's: JSON with its session, or a text of times and quoted names."""
    if {"session", "messages"} <= file.keys and {"weflow", "senderUsername"} & file.keys:
        return "it has a 'session' of WeFlow"
    first = file.head.lstrip("\ufeff").split("\n", 1)[0].rstrip("\r")
    return "a time and a name in quotes before each message" if HEADER.fullmatch(first) else None


def read(files: Sequence[File], hints: Hints) -> Iterator[Record]:
    """Yield the messages of each file; a file is a chat."""
    for file in files:
        yield from _json(file) if file.begins("{") else _text(file)


def _json(file: File) -> Iterator[Record]:
    session: dict[str, Any] = {}
    quotations = Quotations()
    for path, value in parts(file, {"session", "messages.item"}):
        if not isinstance(value, dict):
            yield Malformed(file.where, "a message that is no object")
        elif path == "session":
            session = value
        else:
            yield _record(value, session, quotations, file)


def _record(
    message: dict[str, Any], session: dict[str, Any], quotations: Quotations, file: File
) -> Record:
    content = plain_text(message.get("content") or "")
    sender, time = message.get("senderUsername"), message.get("createTime")
    if content is None:
        return Malformed(file.where, "a message whose text cannot be read")
    if not isinstance(time, int | float) or not 0 < time < 10**11:
        return Malformed(file.where, "a message without time")
    what = said(str(message.get("type")), content)
    if "系统" in str(message.get("type")) or what.kind == "system":
        return Skipped("system line", content)
    if not isinstance(sender, str) or not sender:
        return Malformed(file.where, "a message without sender")
    quoted = message.get("quotedContent")
    if isinstance(quoted, str):
        what = Said(what.kind, what.text, (str(message.get("quotedSender") or ""), quoted))
    own, reply = message.get("platformMessageId"), message.get("replyToMessageId")
    name = str(message.get("senderDisplayName") or sender)
    body = Message(
        what.text,
        id=str(own) if own else None,
        time=iso_utc(time),
        kind="text" if what.kind == "forward" else what.kind,
        reply_to=str(reply) if reply else quotations.find(what.quotes),
    )
    quotations.see(name, what.text, body.id)
    return Sent(
        str(session.get("wxid") or session.get("accountId") or file.chat),
        Person(sender, name),
        body,
        float(time),
        group=session.get("type") == "群聊",
        forwarded=what.kind == "forward",
        shown="" if what.text == content else content,
    )


def _text(file: File) -> Iterator[Record]:
    for block in blocks_of(file, lambda line, blank: HEADER.fullmatch(line) if blank else None):
        yield block if isinstance(block, Malformed) else _written(*block, file)


def _written(header: re.Match[str], lines: list[str], file: File) -> Record:
    at, name = iso_seconds(header[1]), header[2] or "?"
    content = "\n".join(lines).strip("\n")
    if at is None:
        return Malformed(file.where, "a date that does not exist")
    if torn(content + name):
        return Malformed(file.where, "not UTF-8")
    what = said("text", content)
    if what.kind == "system":
        return Skipped("system line", content)
    body = Message(
        what.text,
        time=header[1].replace(" ", "T"),
        kind="text" if what.kind == "forward" else what.kind,
    )
    return Sent(
        file.chat,
        Person(name, name),
        body,
        at,
        forwarded=what.kind == "forward",
        shown="" if what.text == content else content,
    )
