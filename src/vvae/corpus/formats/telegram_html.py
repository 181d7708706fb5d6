"""Telegram's "Export chat history" as HTML: messages.html, messages2.html, ... per chat.

The JSON export holds more (ids of people); this one is often all that is left of a chat.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from vvae.core.dialogue import Message, Reaction
from vvae.corpus.formats import TELEGRAM_TITLE, Hints, Malformed, Person, Record, Sent, Skipped
from vvae.corpus.formats.dates import iso_seconds
from vvae.corpus.formats.files import File
from vvae.corpus.formats.html_text import Element, elements
from vvae.corpus.formats.jsonl import storable

__all__ = ["read", "recognise"]

TIME = re.compile(r"(\d{2})\.(\d{2})\.(\d{4}) (\d{2}:\d{2}:\d{2})(?: UTC([+-]\d{2}:\d{2})?)?")
MEDIA = {
    "media_photo": "image",
    "photo_wrap": "image",
    "media_video": "video",
    "video_file_wrap": "video",
    "media_voice_message": "audio",
    "media_audio_file": "audio",
    "animated_wrap": "gif",
    "sticker_wrap": "sticker",
    "media_call": "call",
    "media_location": "location",
    "media_live_location": "location",
    "media_contact": "contact",
    "media_poll": "poll",
    "media_file": "file",
}
SHORT_NAME = re.compile(r"\s+via @\w+$")


def recognise(file: File) -> str | None:
    """Return why a file is Telegram's: a page with messages as the app writes them."""
    is_match = file.begins("<") and (
        'class="message default clearfix' in file.head
        or (
            "Exported Data" in file.head
            and 'class="page_wrap' in file.head
            and file.stem.startswith("messages")
        )
    )
    return "a page of messages of Telegram" if is_match else None


def read(files: Sequence[File], hints: Hints) -> Iterator[Record]:
    """Yield the messages of each chat, whose pages lie in one folder."""
    names: dict[str, str] = {}
    people: dict[str, set[str]] = {}
    for file in files:
        folder = file.name.rpartition("/")[0]
        if title := TELEGRAM_TITLE.search(file.head):
            names.setdefault(folder, title[1])
    for file in sorted(files, key=_page):
        folder = file.name.rpartition("/")[0]
        chat = names.get(folder) or file.folder or file.stem
        yield from _read(file, chat, people.setdefault(folder, set()))


def _page(file: File) -> tuple[str, int]:
    """Folder and number; messages.html is the first."""
    return file.name.rpartition("/")[0], int("0" + re.sub(r"\D", "", file.stem)[:6])


def _read(file: File, chat: str, people: set[str]) -> Iterator[Record]:
    name = ""
    for element in elements(file, lambda element: "message" in element.classes):
        if "default" not in element.classes:
            yield Skipped("system line", element.text)
            continue
        if (sender := _direct(element, "from_name")) is not None:
            name = SHORT_NAME.sub("", sender.text.replace("\n", " "))
        if not name:
            yield Malformed(file.where, "a message without sender")
            continue
        people.add(name)
        yield _record(element, name, chat, file, group=len(people) > 2)


def _direct(element: Element, name: str) -> Element | None:
    """An element of the message itself, and not of one that was forwarded in it."""
    body = element.find("body")
    found = (child for child in (body or element).children if isinstance(child, Element))
    return next((child for child in found if name in child.classes), None)


def _record(element: Element, name: str, chat: str, file: File, *, group: bool) -> Record:
    number = element.attributes.get("id", "").removeprefix("message")
    date = element.find("date")
    match = TIME.match(date.attributes.get("title", "")) if date is not None else None
    if match is None:
        return Malformed(f"{file.where}: message {number[:20]}", "a message without time")
    day, month, year, clock, offset = match.groups()
    time = f"{year}-{month}-{day}T{clock}{offset or ''}"
    at = iso_seconds(time)
    if at is None:
        return Malformed(f"{file.where}: message {number[:20]}", "a date that does not exist")
    forwarded = next((e for e in element.elements() if {"forwarded", "body"} <= e.classes), None)
    text_element = forwarded.find("text") if forwarded else _direct(element, "text")
    text = storable(text_element.text) if text_element is not None else ""
    kind = next(
        (MEDIA[name] for inner in element.elements() for name in MEDIA if name in inner.classes),
        "media" if element.find("media_wrap") is not None else "text",
    )
    replied = element.find("reply_to")
    link = next((e.attributes.get("href", "") for e in replied.elements()), "") if replied else ""
    target = re.search(r"go_to_message(\d+)", link)
    reactions = tuple(
        Reaction(emoji.text, None)
        for reaction in element.find_all("reaction")
        if (emoji := reaction.find("emoji")) is not None
    )
    body = Message(
        text,
        id=number or None,
        time=time,
        kind=kind if text or kind != "text" else "media",
        reply_to=target[1] if target else None,
        reactions=reactions or None,
    )
    person = Person(storable(name), storable(name))
    return Sent(chat, person, body, at, group=group, forwarded=forwarded is not None)
