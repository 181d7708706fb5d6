"""Messenger and Instagram ("Download your information", JSON): message_1.json, message_2.json, ...
per chat, newest first.

These files hold UTF-8 whose bytes were written as if each were a character; it is put right.
Messenger's newer export of encrypted chats is a file per chat with other keys and correct text, in
either order. What the app itself writes comes as the content of somebody's message (meta.yaml).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from functools import cache, lru_cache
from importlib import resources
from typing import Any, NamedTuple

import yaml

from vvae.core.dialogue import Message, Reaction
from vvae.corpus.formats import Hints, Malformed, Person, Presence, Record, Sent, Skipped
from vvae.corpus.formats.dates import iso_utc
from vvae.corpus.formats.files import File
from vvae.corpus.formats.json_stream import parts
from vvae.corpus.formats.jsonl import storable
from vvae.corpus.formats.phrases import Move, any_of, move_of

__all__ = ["AppWords", "app_words", "read", "recognise"]

MEDIA = {
    "photos": "image",
    "videos": "video",
    "audio_files": "audio",
    "gifs": "gif",
    "files": "file",
    "sticker": "sticker",
    "share": "link",
}
OWNER = ("You ", "Enviaste ")
"""How a line begins that is about whose export it is."""


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
    """Yield the messages of each chat, as they stand: newest first, as a rule."""
    chats: dict[str, list[File]] = {}
    for file in files:
        numbered = re.fullmatch(r"message_\d+", file.stem)
        chats.setdefault(file.name.rpartition("/")[0] if numbered else file.name, []).append(file)
    for chat, files_of_chat in chats.items():
        name = chat.rpartition("/")[2]
        for file in files_of_chat:
            yield from _read(file, name.removesuffix(".json") or file.stem)


def _read(file: File, chat: str) -> Iterator[Record]:
    people: list[str] = []
    for path, value in parts(file, {"participants", "messages.item"}):
        if path == "participants":
            people = [_person(one) for one in value] if isinstance(value, list) else []
        elif not isinstance(value, dict):
            yield Malformed(file.where, "a message that is no object")
        else:
            yield from _records(value, chat, file.where, people)


def _person(value: object) -> str:
    """A participant's name: an object, or in the export of encrypted chats a text."""
    return _mended(str(value.get("name"))) if isinstance(value, dict) else storable(str(value))


def _records(
    message: dict[str, Any], chat: str, where: str, people: Sequence[str]
) -> Iterator[Record]:
    newer = "senderName" in message
    sender = message.get("senderName" if newer else "sender_name")
    millis = message.get("timestamp" if newer else "timestamp_ms")
    if not isinstance(sender, str) or not sender:
        yield Malformed(where, "a message without sender")
        return
    if not isinstance(millis, int) or not 0 < millis < 10**14:
        yield Malformed(where, "a message without time")
        return
    mend = storable if newer else _mended
    text = message.get("text" if newer else "content") or ""
    if not isinstance(text, str):
        yield Malformed(where, "a message whose text cannot be read")
        return
    shown = text = mend(text)
    name = mend(sender)
    kind = next(
        (kind for field, kind in MEDIA.items() if message.get(field)),
        "media" if message.get("media") else "",
    )
    at = millis / 1000
    own = app_words(text, name, people)
    doubt = own.doubt if own else text.startswith(f"{name} ")
    if message.get("is_unsent") or message.get("isUnsent") or message.get("type") == "placeholder":
        text, kind = "", "deleted"
    elif "call_duration" in message or message.get("type") == "Call":
        text, kind = "", "call"
    elif own is not None and kind:
        text = ""
    elif own is not None and isinstance(own.what, Move):
        yield Presence(chat, own.what.who, own.what.here, at)
        yield Skipped("somebody came or went", shown)
        return
    elif own is not None and own.what == "attachment":
        text, kind = "", "media"
    elif own is not None:
        yield Skipped("system line", shown, doubt)
        return
    elif message.get("type") in ("Subscribe", "Unsubscribe"):
        yield Skipped("somebody came or went", shown)
        return
    time = iso_utc(at)
    entries = [entry for entry in message.get("reactions") or [] if isinstance(entry, dict)]
    reactions = tuple(
        Reaction(mend(str(r.get("reaction", ""))), mend(str(r.get("actor", "")))) for r in entries
    )
    body = Message(
        text, time=time, kind=kind or ("text" if text else "media"), reactions=reactions or None
    )
    yield Sent(
        chat,
        Person(name, name),
        body,
        at,
        group=len(people) > 2,
        shown="" if shown == text else shown,
        doubt=doubt,
    )


class AppWords(NamedTuple):
    """What the app wrote: who came or went, ``notice``, ``reaction`` or ``attachment``; and whether
    it may be a person's own words.
    """

    what: Move | str
    doubt: bool = False


def app_words(text: str, name: str, people: Collection[str]) -> AppWords | None:
    """Return what a message says that the app wrote; None for what a person wrote.

    Args:
        text: the content of a message.
        name: who signs it.
        people: everybody who is in the chat.

    A sentence that begins with the whole name of its sender is the app's, in whatever language: of
    a name of one word only where a stop ends it.
    """
    plain = text.strip().rstrip(".!。")
    if not plain or len(plain) > 300 or "\n" in plain:
        return None
    phrases = _phrases(frozenset([*people, name]))
    by_sender = plain.startswith(f"{name} ")
    if by_sender and (move := move_of(plain, phrases["joined"], phrases["left"])):
        return AppWords(move)
    if (by_sender or plain.startswith(OWNER)) and phrases["attachments"].fullmatch(plain):
        return AppWords("attachment")
    for kind in ("reaction", "notice"):
        if phrases[f"{kind}s"].fullmatch(plain):
            return AppWords(kind)
    head = re.split(r'[:"“„«]', text.strip())[0]
    sentence = "?" not in head and not re.search(r"[.!,] ", head)
    stopped = text.rstrip().endswith((".", "。"))
    if f"{name} " in plain[: len(name) + 16] and sentence and stopped:
        return AppWords("notice", doubt=not by_sender)
    if by_sender and " " in name and sentence:
        return AppWords("notice", doubt=True)
    return None


@lru_cache(maxsize=256)
def _phrases(people: frozenset[str]) -> dict[str, re.Pattern[str]]:
    names = "|".join(re.escape(name) for name in sorted(people, key=len, reverse=True)[:300])
    return {kind: any_of(phrases, name=f"(?:{names})") for kind, phrases in _data().items()}


@cache
def _data() -> dict[str, list[str]]:
    text = resources.files("vvae.corpus.formats").joinpath("meta.yaml").read_text("utf-8")
    data: dict[str, list[str]] = yaml.safe_load(text)
    return data


def _mended(text: str) -> str:
    """Text whose UTF-8 bytes were taken for characters, as it was;
    what is no such text as it is.
    """
    try:
        return storable(text.encode("latin-1").decode("utf-8"))
    except (UnicodeEncodeError, UnicodeDecodeError):
        return storable(text)
