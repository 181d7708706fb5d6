"""Messenger and Instagram ("Download your information", HTML): message_1.html, ... per chat, newest
first.

Classes of the pages since 2021: a message is _a6-g, its sender _a6-h with _a6-i, its body _a6-p,
its time _a6-o. Times are written in words, in the language of the account, without a zone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vvae.core.dialogue import Message
from vvae.corpus.formats import Hints, Malformed, Person, Presence, Record, Sent, Skipped
from vvae.corpus.formats.dates import written
from vvae.corpus.formats.files import File
from vvae.corpus.formats.html_text import Element, elements
from vvae.corpus.formats.jsonl import storable
from vvae.corpus.formats.meta import app_words
from vvae.corpus.formats.phrases import Move

__all__ = ["read", "recognise"]

BOX, OLD_BOX = "_a6-g", "_2lej"
SENDER, BODY, TIME = ("_a6-i", "_2lel"), ("_a6-p", "_2let"), ("_a6-o", "_2lem")
MEDIA = {"img": "image", "video": "video", "audio": "audio"}


def recognise(file: File) -> str | None:
    """Return why a file is such a page: its name and classes."""
    named = file.stem.startswith("message_") and file.begins("<")
    is_match = named and any(sign in file.head for sign in (BOX, OLD_BOX, "_a70e", "_3b0d"))
    return "a page of messages of Messenger or Instagram" if is_match else None


def read(files: Sequence[File], hints: Hints) -> Iterator[Record]:
    """Yield the messages of each chat, as they stand: newest first, as a rule."""
    for file in files:
        chat = file.folder or file.stem
        people: set[str] = set()
        for box in elements(file, lambda element: bool(element.classes & {BOX, OLD_BOX})):
            record = _record(box, chat, file, people)
            if record is not None:
                yield from record


def _record(box: Element, chat: str, file: File, people: set[str]) -> list[Record] | None:
    """What a box holds; None for one that is no message."""
    sender, body, time = box.find(*SENDER), box.find(*BODY), box.find(*TIME)
    if time is None or body is None:
        return None
    name = storable(sender.text.replace("\n", " ")) if sender is not None else ""
    if not name:
        return [Malformed(file.where, "a message without sender")]
    moment = written(time.text)
    if moment is None:
        return [Malformed(file.where, "a time that cannot be read")]
    people.add(name)
    shown = text = storable(_said(body))
    kind = next((MEDIA[inner.tag] for inner in body.elements() if inner.tag in MEDIA), "text")
    own = app_words(text, name, people)
    if own is not None and isinstance(own.what, Move):
        return [
            Presence(chat, own.what.who, own.what.here, moment[0]),
            Skipped("somebody came or went", shown),
        ]
    if own is not None and own.what != "attachment" and kind == "text":
        return [Skipped("system line", shown, own.doubt)]
    if own is not None:
        text, kind = "", "media" if kind == "text" else kind
    message = Message(text, time=moment[1], kind=kind if text or kind != "text" else "media")
    shown = "" if shown == text else shown
    person = Person(name, name)
    return [Sent(chat, person, message, moment[0], group=len(people) > 2, shown=shown)]


def _said(body: Element) -> str:
    """The text of a body: its second division; the others repeat links and list reactions."""
    inner = [child for child in body.children if isinstance(child, Element)]
    while len(inner) == 1 and inner[0].tag == "div":
        deeper = [child for child in inner[0].children if isinstance(child, Element)]
        if not deeper or deeper[0].tag != "div":
            return inner[0].text
        inner = deeper
    divisions = [child for child in inner if child.tag == "div"]
    return divisions[1].text if len(divisions) > 1 else body.text
