"""Google Chat from Takeout: messages.json and group_info.json in a folder per chat.

Times are written in words, in the language of the account, in UTC.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from vvae.core.dialogue import Message, Reaction
from vvae.corpus.formats import Hints, Malformed, Person, Record, Sent, Skipped
from vvae.corpus.formats.dates import iso_utc, written
from vvae.corpus.formats.discord import media_kind
from vvae.corpus.formats.files import File
from vvae.corpus.formats.json_stream import parts
from vvae.corpus.formats.jsonl import objects, plain_text, storable

__all__ = ["read", "recognise"]


def recognise(file: File) -> str | None:
    """Return why a file is Google Chat's: messages with a creator and a topic."""
    is_match = {"messages", "topic_id", "message_id"} <= file.keys and file.begins("{")
    return "messages with a 'topic_id' (Google Chat)" if is_match else None


def read(files: Sequence[File], hints: Hints) -> Iterator[Record]:
    """Yield the messages of each file; a folder is a chat."""
    for file in files:
        for _, value in parts(file, {"messages.item"}):
            if isinstance(value, dict):
                yield _record(value, file)
            else:
                yield Malformed(file.where, "a message that is no object")


def _record(message: dict[str, Any], file: File) -> Record:
    number = str(message.get("message_id"))
    where = f"{file.where}: message {number[:60]}"
    creator = message.get("creator")
    if message.get("message_state") == "DELETED" and not isinstance(creator, dict):
        return Skipped("deleted, by nobody knows whom")
    if not isinstance(creator, dict):
        return Malformed(where, "a message without sender")
    name = str(creator.get("name") or creator.get("email") or "")
    who = str(creator.get("email") or name)
    if not who:
        return Malformed(where, "a message without sender")
    time = _time(message)
    if time is None:
        return Malformed(where, "a time that cannot be read")
    text = plain_text(message.get("text") or "")
    if text is None:
        return Malformed(where, "a message whose text cannot be read")
    files = objects(message.get("attached_files"))
    annotations = objects(message.get("annotations"))
    if not text and not files and not annotations:
        return Skipped("system line")
    called = any("video_call_metadata" in annotation for annotation in annotations)
    kind = media_kind(files[0].get("export_name")) if files else "text" if text else "link"
    quoted = message.get("quoted_message_metadata")
    quoted = quoted[0] if isinstance(quoted, list) and quoted else quoted
    reply = quoted.get("message_id") if isinstance(quoted, dict) else None
    body = Message(
        text,
        id=number,
        time=iso_utc(time),
        kind="call" if called and not text else kind,
        reply_to=reply if isinstance(reply, str) else None,
        reactions=_reactions(message.get("reactions")),
        edited=True if message.get("updated_date") else None,
    )
    person = Person(storable(who), storable(name or who))
    group = file.folder.startswith("Space ")
    bot = creator.get("user_type") == "Bot"
    return Sent(file.folder or file.stem, person, body, time, group=group, bot=bot)


def _time(message: dict[str, Any]) -> float | None:
    """Seconds of when it was written; of an edited one that stands with its former versions."""
    former = objects(message.get("previous_message_versions"))
    dates = [message.get("created_date"), *(version.get("created_date") for version in former)]
    dates += [message.get("updated_date"), message.get("deleted_date")]
    text = next((date for date in dates if isinstance(date, str)), None)
    found = written(text) if text is not None else None
    return found[0] if found else None


def _reactions(value: object) -> tuple[Reaction, ...] | None:
    found = []
    for reaction in objects(value):
        emoji = reaction.get("emoji")
        sign = emoji.get("unicode") if isinstance(emoji, dict) else None
        by = reaction.get("reactor_emails")
        people = [who for who in by if isinstance(who, str)] if isinstance(by, list) else []
        found += [Reaction(storable(str(sign)), who) for who in people[:1000] if sign]
    return tuple(found) or None
