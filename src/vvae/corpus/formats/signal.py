"""Signal: the plaintext export of its apps (main.jsonl, an object a line, as in Backup.proto), and
the Markdown and JSON that signal-export writes of a computer's Signal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from vvae.core.dialogue import Message, Reaction
from vvae.corpus.formats import Hints, Malformed, Person, Record, Sent, Skipped
from vvae.corpus.formats.blocks import blocks_of
from vvae.corpus.formats.dates import iso_seconds, iso_utc
from vvae.corpus.formats.files import LONGEST_RECORD, File, torn
from vvae.corpus.formats.jsonl import json_of, objects, plain_text, storable

__all__ = ["read", "recognise"]

LINE = re.compile(
    r"\[(\d{4}-\d{2}-\d{2}),? (\d{2}:\d{2}(?::\d{2})?)\] (?P<who>[^:\n]{1,100}): ?(?P<text>.*)"
)
REACTIONS = re.compile(r"\n?\(- ([^\n]*?) -\)(?=!?\[|\n?\(\(|\s*$)")
STICKER = re.compile(r"\n?\(\( .* \)\)\s*$")
QUOTED = re.compile(r"\A\s*(?:>.*\n)+")
ATTACHMENT = re.compile(r"!?\[[^\[\]\n]*\]\(\.{1,2}/[^()\n]*\)\s*")
ITEMS = {
    "contactMessage": "contact",
    "stickerMessage": "sticker",
    "remoteDeletedMessage": "deleted",
    "viewOnceMessage": "media",
    "paymentNotification": "media",
    "giftBadge": "media",
    "poll": "poll",
    "adminDeletedMessage": "deleted",
    "directStoryReplyMessage": "text",
}


def recognise(file: File) -> str | None:
    """Return why a file is Signal's: lines of a backup, or a chat as signal-export writes it."""
    if file.begins("{") and {"chatItem", "authorId"} & file.keys and "dateSent" in file.keys:
        return "lines of a backup of Signal"
    if file.begins("{") and {"date", "sender", "body", "quote", "sticker"} <= file.keys:
        return "lines of signal-export"
    if file.name.casefold().endswith(".md"):
        lines = file.head.splitlines()[:20]
        return "lines of signal-export" if any(map(LINE.fullmatch, lines)) else None
    return None


def read(files: Sequence[File], hints: Hints) -> Iterator[Record]:
    """Yield the messages of each file."""
    written = {file.folder for file in files if file.stem == "data"}
    for file in files:
        if file.name.casefold().endswith(".md"):
            if file.folder in written:
                yield Skipped("in another file of the same chat")
            else:
                yield from _markdown(file)
        else:
            yield from _Backup(file).records()


class _Backup:
    """Reads main.jsonl: people and chats are told before the messages that name them."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._names: dict[str, str] = {}
        self._groups: set[str] = set()
        self._chats: dict[str, str] = {}
        self._own = "Me"
        self._silent: set[str] = set()

    def records(self) -> Iterator[Record]:
        for number, line in self._file.lines(LONGEST_RECORD):
            if not line.strip():
                continue
            frame, where = json_of(line), f"{self._file.where}:{number}"
            if isinstance(frame, str):
                yield Malformed(where, frame)
            elif isinstance(item := frame.get("chatItem"), dict):
                yield self._item(item, where)
            elif "sender" in frame and "body" in frame:
                yield _exported(frame, self._file, where)
            else:
                self._note(frame)

    def _note(self, frame: dict[str, Any]) -> None:
        account, recipient, chat = (frame.get(k) for k in ("account", "recipient", "chat"))
        if isinstance(account, dict):
            self._own = _name(account) or self._own
        if isinstance(recipient, dict):
            key, contact, group = (
                str(recipient.get("id")),
                recipient.get("contact"),
                recipient.get("group"),
            )
            if isinstance(contact, dict):
                self._names[key] = _name(contact) or key
            elif isinstance(group, dict):
                self._groups.add(key)
                self._names[key] = _group(group) or key
            elif "self" in recipient:
                self._names[key] = self._own
            elif "releaseNotes" in recipient:
                self._silent.add(key)
        if isinstance(chat, dict):
            self._chats[str(chat.get("id"))] = str(chat.get("recipientId"))

    def _item(self, item: dict[str, Any], where: str) -> Record:
        time, author = str(item.get("dateSent")), str(item.get("authorId"))
        if not re.fullmatch(r"[0-9]{1,14}", time):
            return Malformed(where, "a message without time")
        if "updateMessage" in item:
            update = item["updateMessage"]
            call = isinstance(update, dict) and {"individualCall", "groupCall"} & update.keys()
            if not call:
                return Skipped("system line")
            kind, text = "call", ""
        else:
            kind = next((kind for key, kind in ITEMS.items() if key in item), "text")
            text = ""
        if author in self._silent:
            return Skipped("Signal's own channel")
        if "outgoing" in item and author not in self._names:
            self._names[author] = self._own
        name = self._names.get(author, author)
        standard = item.get("standardMessage")
        standard = standard if isinstance(standard, dict) else {}
        story = item.get("directStoryReplyMessage")
        story = story.get("textReply") if isinstance(story, dict) else None
        body = (story if isinstance(story, dict) else standard).get("text")
        shown = plain_text((body.get("body") if isinstance(body, dict) else body) or "")
        if shown is None:
            return Malformed(where, "a message whose text cannot be read")
        if kind == "text":
            text = shown.replace("\ufffc", "").strip()  # in the place of a mention
            attachments = objects(standard.get("attachments"))
            kind = _media(attachments) if attachments else "text" if text else "media"
        holders = (item.get(key) for key in ("standardMessage", *ITEMS))
        holder: dict[str, Any] = next((h for h in holders if isinstance(h, dict)), {})
        quote = standard.get("quote")
        replied = quote.get("targetSentTimestamp") if isinstance(quote, dict) else None
        reactions = tuple(
            Reaction(storable(str(r.get("emoji", ""))), self._names.get(str(r.get("authorId"))))
            for r in objects(holder.get("reactions"))
        )
        at = int(time) / 1000
        message = Message(
            text,
            id=time,
            time=iso_utc(at),
            kind=kind,
            reply_to=str(replied) if replied is not None else None,
            reactions=reactions or None,
            edited=True if item.get("revisions") else None,
        )
        chat = self._chats.get(str(item.get("chatId")), str(item.get("chatId")))
        return Sent(
            self._names.get(chat, chat),
            Person(name, name),
            message,
            at,
            group=chat in self._groups,
        )


def _name(contact: dict[str, Any]) -> str:
    """A person's name: as one calls them, in one's contacts, as they call themselves, a number."""
    nickname = contact.get("nickname")
    nickname = nickname if isinstance(nickname, dict) else {}
    pairs = (
        (nickname.get("given"), nickname.get("family")),
        (contact.get("systemGivenName"), contact.get("systemFamilyName")),
        (contact.get("profileGivenName"), contact.get("profileFamilyName")),
        (contact.get("givenName"), contact.get("familyName")),
        (contact.get("username"), None),
        (contact.get("e164"), None),
    )
    names = (" ".join(part for part in pair if isinstance(part, str) and part) for pair in pairs)
    return storable(next(filter(None, names), ""))


def _group(group: dict[str, Any]) -> str:
    value: Any = group
    for key in ("snapshot", "title", "title"):
        value = value.get(key) if isinstance(value, dict) else None
    return storable(value) if isinstance(value, str) else ""


def _media(attachments: list[dict[str, Any]]) -> str:
    pointer = attachments[0].get("pointer")
    kind = str(pointer.get("contentType") if isinstance(pointer, dict) else "").partition("/")[0]
    voice = attachments[0].get("flag") == "VOICE_MESSAGE"
    return "audio" if voice else kind if kind in ("image", "video", "audio") else "file"


def _exported(row: dict[str, Any], file: File, where: str) -> Record:
    """A line of data.json of signal-export."""
    text, who, at = (
        plain_text(row.get("body") or ""),
        row.get("sender"),
        iso_seconds(str(row.get("date"))),
    )
    if text is None or at is None or not isinstance(who, str) or not who:
        return Malformed(where, "a message that cannot be read")
    kind = "deleted" if row.get("deleted") else "call" if row.get("call") else "text"
    if kind == "text" and not text:
        kind = "sticker" if row.get("sticker") else "media"
    name = storable(who)
    message = Message(text if kind == "text" else "", time=str(row["date"]), kind=kind)
    return Sent(file.folder or file.stem, Person(name, name), message, at)


def _markdown(file: File) -> Iterator[Record]:
    for block in blocks_of(file, lambda line, _: LINE.fullmatch(line)):
        yield block if isinstance(block, Malformed) else _said(*block, file)


def _said(header: re.Match[str], more: list[str], file: File) -> Record:
    if header["who"].strip() == "No-Sender":
        return Skipped("a message without sender", header["text"])
    time = f"{header[1]}T{header[2]}"
    at = iso_seconds(time)
    if at is None:
        return Malformed(file.where, "a date that does not exist")
    shown = "\n".join([header["text"].rstrip(), *more])
    if torn(shown + header["who"]):
        return Malformed(file.where, "not UTF-8")
    reactions: list[Reaction] = []
    if match := REACTIONS.search(shown):
        for one in match[1].split(", "):
            who, _, emoji = one.partition(": ")
            reactions.append(Reaction(emoji, who))
        text = shown[: match.start()] + shown[match.end() :]
    else:
        text = shown
    kind = "text"
    if STICKER.search(text):
        kind, text = "sticker", STICKER.sub("", text)
    elif ATTACHMENT.search(text):
        kind, text = "file", ATTACHMENT.sub("", text)
    if text.startswith("\n"):  # what is quoted stands alone, before the answer
        text = QUOTED.sub("", text)
    text = text.strip()
    if text == "(This message was deleted)":
        kind, text = "deleted", ""
    name = header["who"].strip()
    body = Message(
        text,
        time=time,
        kind=kind if text or kind != "text" else "media",
        reactions=tuple(reactions) or None,
    )
    chat = file.folder or file.stem
    return Sent(chat, Person(name, name), body, at, shown="" if shown == text else shown)
