"""Telegram's "Export chat history" as JSON (result.json): one chat, or a whole account's.

https://core.telegram.org/import-export. A text is a string or a list of strings and marked pieces,
joined without spaces.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from vvae.core.dialogue import Message, Reaction
from vvae.corpus.formats import Hints, Malformed, Person, Presence, Record, Sent, Skipped
from vvae.corpus.formats.dates import iso_seconds
from vvae.corpus.formats.files import File
from vvae.corpus.formats.json_stream import START, parts
from vvae.corpus.formats.jsonl import plain_text

__all__ = ["read", "recognise"]

LISTS = ("", "chats.list.item.", "left_chats.list.item.")
KINDS = {
    "sticker": "sticker",
    "voice_message": "audio",
    "audio_file": "audio",
    "video_message": "video",
    "video_file": "video",
    "animation": "gif",
}
FIELDS = {
    "photo": "image",
    "location_information": "location",
    "contact_information": "contact",
    "poll": "poll",
    "file": "file",
}
CAME, WENT = ("invite_members", "join_group_by_link", "join_group_by_request"), ("remove_members",)
MOST_REACTIONS = 1000


def recognise(file: File) -> str | None:
    """Return why a file is Telegram's: JSON with the keys of its export."""
    for keys in (
        {"messages", "date_unixtime"},
        {"from_id", "text_entities"},
        {"personal_information", "chats"},
    ):
        if keys <= file.keys and file.begins("{"):
            return f"it has {' and '.join(map(repr, sorted(keys)))}"
    return None


def read(files: Sequence[File], hints: Hints) -> Iterator[Record]:
    """Yield the messages of each chat, in the order of the export."""
    for file in files:
        yield from _read(file)


def _read(file: File) -> Iterator[Record]:
    whole = {f"{base}{name}" for base in LISTS for name in ("name", "type", "id", "messages.item")}
    chat: dict[str, str] = {}
    for path, value in parts(file, whole, {base.rstrip(".") for base in LISTS if base}):
        if value is START:
            chat = {}
        elif not path.endswith("messages.item"):
            chat[path.rpartition(".")[2]] = str(value)
        elif not isinstance(value, dict):
            yield Malformed(file.where, "a message that is no object")
        else:
            yield _record(value, chat, file.where)


def _record(message: dict[str, Any], chat: dict[str, str], where: str) -> Record:
    name = chat.get("id") or chat.get("name") or ""
    number = message.get("id")
    where = f"{where}: message {number if isinstance(number, int) else '?'}"
    if message.get("type") == "service":
        return _service(message, name)
    pieces = message.get("text")
    if isinstance(pieces, list):  # of which each may be marked: bold, a link, somebody's name
        marked = [piece.get("text", "") if isinstance(piece, dict) else piece for piece in pieces]
        text = plain_text("".join(piece for piece in marked if isinstance(piece, str)))
    else:
        text = plain_text(pieces)
    if text is None:
        return Malformed(where, "a message whose text cannot be read")
    who = message.get("from_id") or message.get("actor_id")
    display_name = message.get("from") or message.get("actor")
    if not isinstance(who, str) and not isinstance(display_name, str):
        return Malformed(where, "a message without sender")
    person = Person(
        str(who or display_name),
        str(display_name) if isinstance(display_name, str) else "Deleted Account",
    )
    kind = _kind(message, text)
    if kind == "sticker" and not text:
        text = str(message.get("sticker_emoji") or "")
    reply = message.get("reply_to_message_id")
    time = message.get("date")
    body = Message(
        text,
        id=str(number) if isinstance(number, int) else None,
        time=time if isinstance(time, str) else None,
        kind=kind,
        reply_to=str(reply) if isinstance(reply, int) else None,
        reactions=_reactions(message.get("reactions")),
        edited=True if message.get("edited") else None,
    )
    kinds = chat.get("type", "")
    return Sent(
        name,
        person,
        body,
        _seconds(message),
        group="group" in kinds or "channel" in kinds,
        bot=bool(message.get("via_bot"))
        or (kinds == "bot_chat" and display_name == chat.get("name")),
        forwarded="forwarded_from" in message,
    )


def _service(message: dict[str, Any], chat: str) -> Record:
    action = message.get("action")
    if action == "phone_call" and isinstance(message.get("actor_id"), str):
        person = Person(str(message["actor_id"]), str(message.get("actor") or "Deleted Account"))
        time = message.get("date")
        body = Message(
            "", id=str(message.get("id")), time=time if isinstance(time, str) else None, kind="call"
        )
        return Sent(chat, person, body, _seconds(message))
    if action in CAME + WENT:
        members = [m for m in message.get("members") or [] if isinstance(m, str)]
        actor = message.get("actor_id")
        people = members or ([actor] if isinstance(actor, str) else [])
        return Presence(chat, tuple(people), action in CAME, _seconds(message))
    return Skipped("system line", str(action or ""))


def _kind(message: dict[str, Any], text: str) -> str:
    media = message.get("media_type")
    if isinstance(media, str):
        return KINDS.get(media, "media")
    return next(
        (kind for field, kind in FIELDS.items() if field in message), "text" if text else "media"
    )


def _reactions(value: object) -> tuple[Reaction, ...] | None:
    if not isinstance(value, list):
        return None
    result: list[Reaction] = []
    for reaction in value:
        if not isinstance(reaction, dict):
            continue
        emoji = reaction.get("emoji")
        symbol = emoji if isinstance(emoji, str) else str(reaction.get("type", "custom"))
        recent = reaction.get("recent")
        sender_ids = (
            [r.get("from_id") for r in recent if isinstance(r, dict)]
            if isinstance(recent, list)
            else []
        )
        by = [name if isinstance(name, str) else None for name in sender_ids]
        count = reaction.get("count")
        unnamed = min(count, MOST_REACTIONS) - len(by) if isinstance(count, int) else 0
        result += [Reaction(symbol, name) for name in by + [None] * max(unnamed, 0)]
    return tuple(result)


def _seconds(message: dict[str, Any]) -> float | None:
    unix = message.get("date_unixtime")
    if isinstance(unix, str) and unix.isascii() and unix.isdigit() and len(unix) < 15:
        return float(unix)
    date = message.get("date")
    return iso_seconds(date) if isinstance(date, str) else None
