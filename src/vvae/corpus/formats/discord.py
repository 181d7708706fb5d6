"""Discord by DiscordChatExporter (JSON): a file per channel, direct message or thread.

Older versions lack keys; all but id, author and content may be missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from vvae.core.dialogue import Message, Reaction
from vvae.corpus.formats import Hints, Malformed, Person, Presence, Record, Sent, Skipped
from vvae.corpus.formats.dates import iso_seconds
from vvae.corpus.formats.files import File
from vvae.corpus.formats.json_stream import parts
from vvae.corpus.formats.jsonl import objects, plain_text

__all__ = ["media_kind", "read", "recognise"]

SPEECH = {"Default", "Reply", "0", "19"}
CALLS = {"Call", "3"}
CAME, WENT = {"RecipientAdd", "GuildMemberJoin", "1", "7"}, {"RecipientRemove", "2"}
MOST_REACTIONS = 1000
EXTENSIONS = {
    **dict.fromkeys(("png", "jpg", "jpeg", "webp", "heic"), "image"),
    **dict.fromkeys(("mp4", "mov", "webm", "3gp"), "video"),
    **dict.fromkeys(("mp3", "ogg", "wav", "m4a", "opus", "flac"), "audio"),
    "gif": "gif",
}


def media_kind(name: object) -> str:
    """Return the kind of a file by its name."""
    return EXTENSIONS.get(str(name).rpartition(".")[2].casefold()[:5], "file")


def recognise(file: File) -> str | None:
    """Return why a file is DiscordChatExporter's: JSON with a guild, a channel and messages."""
    is_match = {"guild", "channel", "messages"} <= file.keys
    return "it has 'guild', 'channel' and 'messages' (DiscordChatExporter)" if is_match else None


def read(files: Sequence[File], hints: Hints) -> Iterator[Record]:
    """Yield the messages of each channel."""
    for file in files:
        channel: dict[str, Any] = {}
        for path, value in parts(file, {"channel", "messages.item"}):
            if path == "channel":
                channel = value if isinstance(value, dict) else {}
            elif not isinstance(value, dict):
                yield Malformed(file.where, "a message that is no object")
            else:
                yield _record(value, channel, file)


def _record(message: dict[str, Any], channel: dict[str, Any], file: File) -> Record:
    number, chat = str(message.get("id")), str(channel.get("id") or file.stem)
    author = message.get("author")
    if not isinstance(author, dict) or "id" not in author:
        return Malformed(f"{file.where}: message {number[:30]}", "a message without sender")
    person = Person(
        str(author["id"]), str(author.get("nickname") or author.get("name") or author["id"])
    )
    kind = str(message.get("type", "Default"))
    if kind in CAME | WENT:
        mentioned = [str(m["id"]) for m in objects(message.get("mentions")) if "id" in m]
        at = iso_seconds(str(message.get("timestamp")))
        return Presence(chat, tuple(mentioned) or (person.id,), kind in CAME, at)
    if kind not in SPEECH | CALLS:
        return Skipped("system line", str(message.get("content") or ""))
    forwarded = message.get("forwardedMessage")
    text = plain_text((forwarded if isinstance(forwarded, dict) else message).get("content"))
    if text is None:
        return Malformed(
            f"{file.where}: message {number[:30]}", "a message whose text cannot be read"
        )
    stickers = objects(message.get("stickers"))
    attachments = objects(message.get("attachments"))
    what = "text"
    if kind in CALLS:
        text, what = "", "call"
    elif stickers:
        what = "sticker"
    elif attachments:
        what = media_kind(attachments[0].get("fileName"))
    elif not text:
        what = "link" if message.get("embeds") else "media"
    reference = message.get("reference")
    replied = (
        reference.get("messageId")
        if isinstance(reference, dict) and not isinstance(forwarded, dict)
        else None
    )
    time = message.get("timestamp")
    body = Message(
        text,
        id=number,
        time=time if isinstance(time, str) else None,
        kind=what,
        reply_to=str(replied) if replied else None,
        reactions=_reactions(message.get("reactions")),
        edited=True if message.get("timestampEdited") else None,
    )
    return Sent(
        chat,
        person,
        body,
        iso_seconds(time) if isinstance(time, str) else None,
        group=channel.get("type") not in ("DirectTextChat", 1),
        bot=bool(author.get("isBot")) or bool(message.get("interaction")),
        forwarded=isinstance(forwarded, dict),
    )


def _reactions(value: object) -> tuple[Reaction, ...] | None:
    result: list[Reaction] = []
    for reaction in objects(value):
        emoji = reaction.get("emoji")
        name = str(emoji.get("name") or emoji.get("code") or "") if isinstance(emoji, dict) else ""
        by: list[str | None] = [
            str(user["id"]) for user in objects(reaction.get("users")) if "id" in user
        ]
        count = reaction.get("count")
        unnamed = min(count, MOST_REACTIONS) - len(by) if isinstance(count, int) else 0
        result += [Reaction(name, who) for who in by + [None] * max(unnamed, 0)]
    return tuple(result) or None
