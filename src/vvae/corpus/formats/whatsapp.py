"""WhatsApp's "Export chat": a line per message, continued on further lines; a .txt file, alone or
in a zip.

    [31/12/24, 23:59:01] Ana: Happy new year       iOS
    31/12/24, 23:59 - Ana: Happy new year          Android

The order of day and month, the separators and the clock are those of the phone's region. There are
no ids, replies, reactions or time zones in these files.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from importlib import resources
from typing import NamedTuple

import yaml

from vvae.core.dialogue import Message
from vvae.core.errors import DataError
from vvae.corpus.formats import Dates, Hints, Malformed, Person, Presence, Record, Sent, Skipped
from vvae.corpus.formats.dates import Clock, Order, order_of
from vvae.corpus.formats.files import File

__all__ = ["read", "recognise"]

MARKS = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
SPACE = "[ \u00a0\u2009\u202f]"
MERIDIEM = (
    rf"[AaPp]\.?{SPACE}?[Mm]\.?|[AaPp]\b|上午|中午|下午|晚上|凌晨|早上|清晨|午前|午後|오전|오후|ص|م|"
    "पूर्वाह्न|अपराह्न"
)
LATE = re.compile(r"p|下午|晚上|午後|오후|م|अपराह्न|中午", re.IGNORECASE)
HEADER = re.compile(
    rf"""[{MARKS}]*
    (?P<bracket>\[)?
    (?P<a>\d{{1,4}})(?P<dot>[./\-年]){SPACE}?(?P<b>\d{{1,2}})[./\-月]{SPACE}?(?P<c>\d{{1,4}})[.日]?
    [,،]?{SPACE}*(?:(?:at|um|à|às|a\ las|alle|om|kl\.|в){SPACE})?
    (?P<before>{MERIDIEM})?{SPACE}*
    (?P<hour>\d{{1,2}})[:.](?P<minute>\d{{2}})(?:[:.](?P<second>\d{{2}}))?
    {SPACE}*(?P<after>{MERIDIEM})?
    (?(bracket)\]{SPACE}?|{SPACE}?[-–]{SPACE})
    (?P<rest>.*)""",
    re.VERBOSE | re.DOTALL,
)
WHOLE_PLACEHOLDER = re.compile(r"<[^<>\n]{4,60}>")
ATTACHED = re.compile(
    r"(?:<[^<>:\n]{1,40}: )?(?P<name>[\w\-. ()]{1,120}\.(?P<type>\w{2,4}))(?:>| \([^()\n]{3,60}\))"
)
ONE_NAME_IN = 3
"""So many messages of a speaker show whether a colon belongs to the name."""
KINDS = {
    **dict.fromkeys(("jpg", "jpeg", "png", "heic"), "image"),
    **dict.fromkeys(("mp4", "mov", "3gp"), "video"),
    **dict.fromkeys(("opus", "m4a", "mp3", "ogg", "aac"), "audio"),
    **dict.fromkeys(("webp", "was"), "sticker"),
    "gif": "gif",
    "vcf": "contact",
}


class _Header(NamedTuple):
    """The parts of a line that begins a message."""

    date: tuple[str, str, str]
    hour: int
    minute: int
    second: int
    rest: str


class _Style(NamedTuple):
    """What all headers of a file have in common; a line of another style is part of a message."""

    bracket: bool
    seconds: bool
    separator: str
    meridiem: bool


def recognise(file: File) -> str | None:
    """Return why a file is WhatsApp's: a text in whose first lines messages begin as the app writes
    them.
    """
    lines = file.head.splitlines()[:40]
    begun = sum(HEADER.match(line) is not None for line in lines)
    if begun and (": " in file.head or len(lines) < 3):
        first = next(line for line in lines if HEADER.match(line))
        return (
            f"{begun} of the first {len(lines)} lines begin with date and time, {_style_of(first)}"
        )
    return None


def read(files: Sequence[File], hints: Hints) -> Iterator[Record]:
    """Yield the messages of each file; a file is a chat, or a later export of one."""
    until: dict[str, float] = {}
    for file in files:
        last: dict[str, float] = {}
        for record in _read(file, hints):
            if isinstance(record, Sent) and record.at is not None:
                if record.at <= until.get(record.chat, -math.inf):
                    yield Skipped("in another export of the same chat")
                    continue
                last[record.chat] = max(record.at, last.get(record.chat, record.at))
            yield record
        until |= last


def _style_of(line: str) -> str:
    return "in brackets (iOS)" if line.lstrip(MARKS).startswith("[") else "before a dash (Android)"


def _read(file: File, hints: Hints) -> Iterator[Record]:
    style, order, long_names = _facts(file, hints.dates)
    chat = _Chat(file, Clock(order), long_names)
    pending: tuple[int, _Header, str, list[str]] | None = None
    for number, header, line in _headers(file, style):
        if header is not None:
            if pending:
                yield from chat.records(*pending)
            pending = number, header, header.rest, []
        elif pending:
            if sum(map(len, pending[3])) + len(line) > MOST_TEXT:
                yield Malformed(
                    f"{file.where}:{number}", "a message of more than a million characters"
                )
                pending = None
                continue
            pending[3].append(line)
        elif line.strip():
            yield Malformed(f"{file.where}:{number}", "a line before the first message")
    if pending:
        yield from chat.records(*pending)


MOST_TEXT = 1_000_000


@lru_cache(maxsize=16)
def _facts(file: File, dates: Dates) -> tuple[_Style, Order, dict[str, str]]:
    """What only the whole file tells: its style, the order of its dates, the names that hold a
    colon.
    """
    style = _style(file)
    numbers = (header.date for _, header, _ in _headers(file, style) if header)
    order = order_of(numbers, dotted=style.separator == ".", option=dates, where=file.where)
    return style, order, _long_names(file, style)


def _style(file: File) -> _Style:
    """The style of the first line that begins a message.

    Raises:
        DataError: none does.
    """
    for line in file.lines():
        if match := HEADER.match(line.text):
            meridiem = bool(match["before"] or match["after"])
            return _Style(
                match["bracket"] is not None, match["second"] is not None, match["dot"], meridiem
            )
    raise DataError(
        "no line begins with a date and a time", where=file.where, fix="is this a chat of WhatsApp?"
    )


def _headers(file: File, style: _Style) -> Iterator[tuple[int, _Header | None, str]]:
    """Each line, taken apart where a message of the file's style begins in it."""
    match_header = HEADER.match
    for number, text in file.lines():
        match = (
            match_header(text)
            if (text[:1] != "" and (text[0] == "[") is style.bracket) or _marked(text)
            else None
        )
        if match is None:
            yield number, None, text
            continue
        a, dot, b, c, bracket, before, hour, minute, second, after, rest = match.group(
            "a", "dot", "b", "c", "bracket", "before", "hour", "minute", "second", "after", "rest"
        )
        same = (bracket is not None, second is not None, dot) == style[:3]
        if not same or (style.meridiem and not (before or after)):
            yield number, None, text
            continue
        yield (
            number,
            _Header(
                (a, b, c), _hour(int(hour), before or after), int(minute), int(second or 0), rest
            ),
            text,
        )


def _marked(text: str) -> bool:
    return text[:1] in MARKS and text[:1] != ""


def _hour(hour: int, meridiem: str | None) -> int:
    """The hour from 0 to 23."""
    if meridiem is None or hour > 12:
        return hour
    if LATE.search(meridiem):
        return hour if hour == 12 or (meridiem == "中午" and hour > 10) else hour + 12
    return 0 if hour == 12 else hour


def _long_names(file: File, style: _Style) -> dict[str, str]:
    """Names with a colon in them: what stands before the first colon -> the whole name, where all
    messages agree.
    """
    candidates: dict[str, tuple[str | None, int]] = defaultdict(lambda: (None, 0))
    settled: set[str] = set()
    for _, header, _ in _headers(file, style):
        if header is None or len(candidates) > 10_000:
            continue
        name, colon, text = header.rest.partition(": ")
        if not colon or name in settled:
            continue
        longer, again, _ = text.partition(": ")
        before, n = candidates[name]
        if not again or len(longer) > 40 or (n and longer != before):
            settled.add(name)
            candidates.pop(name, None)
            continue
        candidates[name] = longer, n + 1
    return {
        name: f"{name}: {longer}" for name, (longer, n) in candidates.items() if n >= ONE_NAME_IN
    }


class _Chat:
    """Makes records of the messages of one file."""

    def __init__(self, file: File, clock: Clock, long_names: dict[str, str]) -> None:
        self._file, self._clock, self._long_names = file, clock, long_names
        self._people: dict[str, Person] = {}
        self.name = re.sub(
            r" ?\(\d+\)$", "", file.folder if file.stem == "_chat" and file.folder else file.stem
        )

    def records(
        self, number: int, header: _Header, first: str, more: list[str]
    ) -> Iterator[Record]:
        time = self._clock.read(header.date, header.hour, header.minute, header.second)
        if time is None:
            yield Malformed(f"{self._file.where}:{number}", "a date that does not exist")
            return
        name, colon, text = first.partition(": ")
        if not colon and first.endswith(":"):
            name, colon, text = first[:-1], ":", ""
        if not colon:
            yield from self._system(first)
            return
        if longer := self._long_names.get(name):
            name, text = longer, text[len(longer) - len(name) :]
        if more:
            text = "\n".join([text, *more])
        person = self._people.get(name) or self._person(name)
        if any(0xD800 <= ord(c) <= 0xDFFF for c in text) if not text.isascii() else False:
            yield Malformed(f"{self._file.where}:{number}", "not UTF-8")
            return
        message = _message(text, time[1])
        if message is None:
            yield from self._system(text)
            return
        yield Sent(self.name, person, message, time[0])

    def _person(self, name: str) -> Person:
        plain = name.strip(MARKS + " \u00a0\u202f~").encode("utf-8", "replace").decode() or "?"
        return self._people.setdefault(name, Person(plain, plain))

    def _system(self, line: str) -> Iterator[Record]:
        plain = line.strip(MARKS + " ")
        for joined, patterns in ((True, _phrases().joined), (False, _phrases().left)):
            for pattern in patterns:
                if (match := pattern.fullmatch(plain)) and len(plain) < 200:
                    names = re.split(r", | and | y | und | et | e |、", match["who"].strip())
                    yield Presence(self.name, tuple(n.strip(MARKS + " ~") for n in names), joined)
                    yield Skipped("somebody came or went")
                    return
        yield Skipped("system line")


def _message(text: str, time: str) -> Message | None:
    """A message from its text; None for a line of the app's own that carries a name."""
    if text.isascii() and text[:1] != "<" and text[-1:] not in (")", ">") and len(text) > 60:
        return Message(text, time=time, kind="text")
    phrases = _phrases()
    marked = "\u200e" in text[:3]
    plain = text.strip(MARKS + " \n\u202f")
    edited = False
    if (
        plain.endswith(">")
        and (at := plain.rfind("<")) >= 0
        and _folded(plain[at:]) in phrases.edited
    ):
        plain, edited = plain[:at].rstrip(MARKS + " \n"), True
    folded = _folded(plain)
    if folded in phrases.deleted:
        return Message("", time=time, kind="deleted")
    if kind := phrases.media.get(folded):
        return Message("", time=time, kind=kind)
    if match := ATTACHED.match(plain):
        caption = plain[match.end() :].strip(MARKS + " \n")
        return Message(caption, time=time, kind=KINDS.get(match["type"].lower(), "file"))
    if plain == "null" or (WHOLE_PLACEHOLDER.fullmatch(plain) and " " in plain):
        return Message("", time=time, kind="media")
    if marked and text[1:].lstrip().startswith("<"):
        return Message("", time=time, kind="media")
    if marked and not edited:
        return _marked_message(plain, time)
    return Message(plain, time=time, kind="text", edited=edited or None)


def _marked_message(plain: str, time: str) -> Message | None:
    """iOS puts a mark before what the app wrote itself: calls, polls, locations, and the notice on
    encryption.
    """
    folded = _folded(plain)
    for kind, signs in (
        ("poll", ("poll", "encuesta", "umfrage", "sondage", "enquete", "投票")),
        ("location", ("http",)),
    ):
        if folded.startswith(signs) or (kind == "location" and "maps" in folded):
            return Message("", time=time, kind=kind)
    return None


class _Phrases(NamedTuple):
    deleted: frozenset[str]
    edited: frozenset[str]
    media: dict[str, str]
    joined: tuple[re.Pattern[str], ...]
    left: tuple[re.Pattern[str], ...]


@cache
def _phrases() -> _Phrases:
    data = yaml.safe_load(
        resources.files("vvae.corpus.formats").joinpath("whatsapp.yaml").read_text("utf-8")
    )
    media = {_folded(phrase): kind for kind, phrases in data["media"].items() for phrase in phrases}
    moves = [tuple(re.compile(p, re.IGNORECASE) for p in data[name]) for name in ("joined", "left")]
    deleted, edited = (frozenset(map(_folded, data[name])) for name in ("deleted", "edited"))
    return _Phrases(deleted, edited, media, *moves)


def _folded(text: str) -> str:
    return text.casefold().strip(MARKS + " \n\u202f<>.。").removesuffix("।")
