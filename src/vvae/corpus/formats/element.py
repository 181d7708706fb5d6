"""Element (Matrix), "Export chat" as JSON: the events of a room."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from vvae.core.dialogue import Message, Reaction
from vvae.corpus.formats import Hints, Malformed, Person, Presence, Record, Sent, Skipped
from vvae.corpus.formats.dates import iso_utc
from vvae.corpus.formats.files import File
from vvae.corpus.formats.json_stream import parts
from vvae.corpus.formats.jsonl import plain_text, storable

__all__ = ["read", "recognise"]

KINDS = {
    "m.text": "text",
    "m.emote": "text",
    "m.notice": "text",
    "m.image": "image",
    "m.video": "video",
    "m.audio": "audio",
    "m.file": "file",
    "m.location": "location",
}
FALLBACK = re.compile(r"(?:> .*\n)+\n?")
"""What a reply repeats of the message that it answers (Matrix before 1.13)."""


def recognise(file: File) -> str | None:
    """Return why a file is Element's: JSON that says who created and who exported a room."""
    is_match = {"room_name", "room_creator", "exported_by"} <= file.keys
    return "it has 'room_creator' and 'exported_by' (Element)" if is_match else None


def read(files: Sequence[File], hints: Hints) -> Iterator[Record]:
    """Yield the messages of each room; an edit takes the place of what it changed."""
    for file in files:
        edits, reactions = _relations(file)
        room = _Room(file, edits, reactions)
        for path, value in parts(file, {"room_name", "messages.item"}):
            if path == "room_name":
                room.name = storable(str(value))
            elif not isinstance(value, dict):
                yield Malformed(file.where, "a message that is no object")
            else:
                yield room.record(value)


def _relations(file: File) -> tuple[dict[str, str], dict[str, list[Reaction]]]:
    """Id of an event -> what it says since it was edited last; and the reactions to it."""
    edits: dict[str, str] = {}
    reactions: dict[str, list[Reaction]] = defaultdict(list)
    for _, value in parts(file, {"messages.item"}):
        content = value.get("content") if isinstance(value, dict) else None
        relation = content.get("m.relates_to") if isinstance(content, dict) else None
        if not isinstance(content, dict) or not isinstance(relation, dict):
            continue
        target, sign = relation.get("event_id"), relation.get("key")
        if value.get("type") == "m.reaction" and isinstance(sign, str):
            reactions[str(target)].append(Reaction(storable(sign), str(value.get("sender"))))
        elif (changed := _edited(content)) is not None:
            new = content.get("m.new_content")
            text = plain_text(new.get("body")) if isinstance(new, dict) else None
            if text is not None:
                edits[changed] = text
    return edits, reactions


def _edited(content: object) -> str | None:
    relation = content.get("m.relates_to") if isinstance(content, dict) else None
    if isinstance(relation, dict) and relation.get("rel_type") == "m.replace":
        target = relation.get("event_id")
        return target if isinstance(target, str) else None
    return None


class _Room:
    def __init__(
        self, file: File, edits: dict[str, str], reactions: dict[str, list[Reaction]]
    ) -> None:
        self._file, self._edits, self._reactions = file, edits, reactions
        self.name = file.stem
        self._names: dict[str, str] = {}

    def record(self, event: dict[str, Any]) -> Record:
        kind, sender, content = event.get("type"), event.get("sender"), event.get("content")
        number, time = str(event.get("event_id")), event.get("origin_server_ts")
        where = f"{self._file.where}: event {number[:60]}"
        if not isinstance(sender, str) or not sender:
            return Malformed(where, "a message without sender")
        if not isinstance(time, int | float) or not 0 < time < 10**14:
            return Malformed(where, "a message without time")
        at = time / 1000
        if not isinstance(content, dict):
            return Malformed(where, "a message that is no object")
        if kind == "m.room.member":
            return self._member(event, content, at)
        if kind == "m.sticker":
            return self._sent(sender, "", "sticker", event, at)
        if isinstance(kind, str) and kind.startswith("m.call.invite"):
            return self._sent(sender, "", "call", event, at)
        if kind == "m.room.encrypted" or content.get("msgtype") == "m.bad.encrypted":
            return Skipped("could not be decrypted")
        if kind == "m.reaction":
            return Skipped("reaction, read with its message")
        if kind != "m.room.message":
            return Skipped("system line", str(kind))
        if not content:
            return self._sent(sender, "", "deleted", event, at)
        if _edited(content) is not None:
            return Skipped("an edit, read with its message")
        text = plain_text(content.get("body") or "")
        if text is None:
            return Malformed(where, "a message whose text cannot be read")
        shape = KINDS.get(str(content.get("msgtype")), "media")
        if shape != "text":  # the body is the file's name, but where a caption stands beside it
            named = content.get("filename")
            text = text if isinstance(named, str) and named != text else ""
        elif self._replied(content) is not None:
            text = FALLBACK.sub("", text, count=1) if FALLBACK.match(text) else text
        edited = number in self._edits
        text = self._edits.get(number, text)
        bot = content.get("msgtype") == "m.notice"
        return self._sent(
            sender, text, shape, event, at, reply=self._replied(content), edited=edited, bot=bot
        )

    def _member(self, event: dict[str, Any], content: dict[str, Any], at: float) -> Record:
        who = event.get("state_key")
        who = who if isinstance(who, str) and who else str(event.get("sender"))
        if isinstance(name := content.get("displayname"), str) and name:
            self._names[who] = storable(name)
        here = {"join": True, "leave": False, "ban": False}.get(str(content.get("membership")))
        if here is None:
            return Skipped("system line", "m.room.member")
        return Presence(self.name, (storable(who),), here, at)

    def _replied(self, content: dict[str, Any]) -> str | None:
        relation = content.get("m.relates_to")
        if not isinstance(relation, dict) or relation.get("is_falling_back") is True:
            return None
        reply = relation.get("m.in_reply_to")
        target = reply.get("event_id") if isinstance(reply, dict) else None
        return target if isinstance(target, str) else None

    def _sent(
        self,
        sender: str,
        text: str,
        kind: str,
        event: dict[str, Any],
        at: float,
        *,
        reply: str | None = None,
        edited: bool = False,
        bot: bool = False,
    ) -> Sent:
        name = self._names.get(sender) or storable(sender)
        body = Message(
            text,
            id=str(event.get("event_id")),
            time=iso_utc(at),
            kind=kind if text or kind != "text" else "media",
            reply_to=reply,
            reactions=tuple(self._reactions.get(str(event.get("event_id")), ())) or None,
            edited=edited or None,
        )
        return Sent(self.name, Person(storable(sender), name), body, at, bot=bot)
