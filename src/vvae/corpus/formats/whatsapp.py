"""WhatsApp's "Export chat": a line per message, continued on further lines; a .txt file, alone or
in a zip.

    [31/12/24, 23:59:01] Ana: Happy new year       iOS
    31/12/24, 23:59 - Ana: Happy new year          Android
    31/12/24, 23:59:01: Ana: Happy new year        iOS before 2017

The order of day and month, the separators and the clock are those of the phone's region. There are
no ids, replies, reactions or time zones in these files. What the app itself writes stands among the
messages in the same shape, in the phone's language (whatsapp.yaml), often behind a mark that is not
seen (U+200E).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from vvae.core.errors import DataError
from vvae.corpus.formats import Dates, Hints, Malformed, Person, Presence, Record, Sent, Skipped
from vvae.corpus.formats.dates import Clock, Dating, Order, hour_of
from vvae.corpus.formats.files import File, torn
from vvae.corpus.formats.phrases import Move
from vvae.corpus.formats.whatsapp_words import (
    ATTACHED_ANDROID,
    MARKS,
    doubtful,
    folded,
    is_encryption_notice,
    marked,
    message_of,
    notice_of,
    unbalanced,
)

__all__ = ["read", "recognise"]

SPACE = "[ \u00a0\u2009\u202f]"
MERIDIEM = (
    rf"[AaPp]\.?{SPACE}?[Mm]\.?|[AaPp]\b|上午|中午|下午|晚上|凌晨|早上|清晨|午前|午後|오전|오후|ص|م|"
    "पूर्वाह्न|अपराह्न|π\\.μ\\.|μ\\.μ\\."
)
HEADER = re.compile(
    rf"""[{MARKS}]*
    (?P<bracket>\[)?
    (?P<a>\d{{1,4}})(?P<dot>[./\-年]){SPACE}?(?P<b>\d{{1,2}})[./\-月]{SPACE}?(?P<c>\d{{1,4}})(?:[.日]|{SPACE}BE)?
    [,،]?{SPACE}*(?:(?:at|um|à|às|a\ las|alle|om|klo|kl\.|в){SPACE})?
    (?P<before>{MERIDIEM})?{SPACE}*
    (?P<hour>\d{{1,2}})[:.](?P<minute>\d{{2}})(?:[:.](?P<second>\d{{2}}))?
    {SPACE}*(?P<after>{MERIDIEM})?
    (?(bracket)\]{SPACE}?|(?P<end>{SPACE}?[-–]|:){SPACE})
    (?P<rest>.*)""",
    re.VERBOSE | re.DOTALL,
)
MARK_BEFORE = re.compile(rf"[{MARKS}]+(?=[\d\[/.\-، ])|(?<=[\d/.\-، ])[{MARKS}]+")
OWN_FILE = re.compile(r"[A-Z]{3}-\d{8}-WA\d{4}\.\w{2,5}")
"""What the app itself calls a file; what stands in parentheses behind it is the app's word."""
QUOTED = re.compile(r"[\"“„«「]([^\"“”„«»「」\n]{1,100})[\"”“»」]")
ONE_NAME_IN = 3
"""So many messages of a speaker show whether a colon belongs to the name."""
MOST_NAMES = 10_000


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
    colon: bool
    meridiem: bool


@dataclass
class _Facts:
    """What only the whole file tells."""

    style: _Style
    order: Order
    long_names: dict[str, str]
    """What stands before the first colon -> the whole name, of names with a colon."""
    nobody: frozenset[str]
    """What stands before a colon and is nobody's name: the group's own, which signs notices on
    iOS, and the beginnings of notices.
    """
    group: bool
    attached: frozenset[str]
    """What stands in parentheses behind the app's own names of files."""


def recognise(file: File) -> str | None:
    """Return why a file is WhatsApp's: a text in whose first lines messages begin as the app writes
    them.
    """
    if file.begins("{", "<") or file.name.casefold().endswith(".md"):
        return None  # .md is signal-export's
    lines = file.head.splitlines()[:40]
    begun = [line for line in lines if (match := _match(line)) and _is_message(match)]
    if begun and (": " in file.head or len(lines) < 3):
        return (
            f"{len(begun)} of the first {len(lines)} lines begin with date and time, "
            f"{_style_of(begun[0])}"
        )
    return None


def _is_message(match: re.Match[str]) -> bool:
    """A colon behind the time begins a message only where another stands behind a name."""
    return match["end"] != ":" or ": " in match["rest"]


def read(files: Sequence[File], hints: Hints) -> Iterator[Record]:
    """Yield the messages of each file; a file is a chat, or a later export of one."""
    if len(files) == 1:
        yield from _read(files[0], hints)
        return
    read_before: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for file in files:
        spans: dict[str, tuple[float, float]] = {}
        for record in _read(file, hints):
            if isinstance(record, Sent) and record.at is not None:
                at = record.at
                first, last = spans.get(record.chat, (at, at))
                spans[record.chat] = min(first, at), max(last, at)
                if any(begin <= at <= end for begin, end in read_before[record.chat]):
                    yield Skipped("in another export of the same chat")
                    continue
            yield record
        for chat, span in spans.items():
            read_before[chat].append(span)


def _style_of(line: str) -> str:
    return "in brackets (iOS)" if line.lstrip(MARKS).startswith("[") else "before a dash (Android)"


def _read(file: File, hints: Hints) -> Iterator[Record]:
    facts = _facts(file, hints.dates)
    chat = _Chat(file, facts)
    pending: tuple[int, _Header, str, list[str]] | None = None
    for number, header, line in _headers(file, facts.style):
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
def _facts(file: File, dates: Dates) -> _Facts:
    style = _style(file)
    dating = Dating(dotted=style.separator == ".", option=dates, where=file.where)
    names = _Names(_title(file))
    attached: set[str] = set()
    for _, header, _ in _headers(file, style):
        if header is None:
            continue
        dating.see(header.date)
        names.see(header.rest)
        if "-WA" in header.rest and (match := ATTACHED_ANDROID.search(header.rest)):
            own = OWN_FILE.fullmatch(match["name"].rpartition(" ")[2].strip(MARKS))
            attached |= {folded(match["word"])} if own and len(attached) < 10 else set()
    titles = names.titles()
    nobody = titles | names.beginnings()
    return _Facts(
        style,
        dating.order(),
        names.with_colon(),
        nobody,
        names.people(nobody) > 2 or names.has_group_notices,
        frozenset(attached),
    )


def _title(file: File) -> str:
    """The chat's name, which is the file's, or that of its folder."""
    name = file.folder if file.stem == "_chat" and file.folder else file.stem
    return re.sub(r" ?\(\d+\)$", "", name)


def _style(file: File) -> _Style:
    """The style of the first line that begins a message.

    Raises:
        DataError: none does.
    """
    for line in file.lines():
        if match := _match(line.text):
            meridiem = bool(match["before"] or match["after"])
            return _Style(
                match["bracket"] is not None,
                match["second"] is not None,
                match["dot"],
                match["end"] == ":",
                meridiem,
            )
    raise DataError(
        "no line begins with a date and a time", where=file.where, fix="is this a chat of WhatsApp?"
    )


def _headers(file: File, style: _Style) -> Iterator[tuple[int, _Header | None, str]]:
    """Each line, taken apart where a message of the file's style begins in it."""
    begins = "[" if style.bracket else ""
    for number, text in file.lines():
        first = text[:1]
        likely = first == "[" if begins else first.isdecimal()
        match = _match(text) if likely or (first and first in MARKS) else None
        if match is None:
            yield number, None, text
            continue
        (bracket, a, dot, b, c, before, hour, minute, second, after, end, rest) = match.groups()
        same = (bracket is not None, second is not None, dot, end == ":") == style[:4]
        if not same or (style.meridiem and not (before or after)):
            yield number, None, text
            continue
        yield (
            number,
            _Header(
                (a, b, c), hour_of(int(hour), before or after), int(minute), int(second or 0), rest
            ),
            text,
        )


def _match(line: str) -> re.Match[str] | None:
    """The parts of a line that begins a message. Arabic phones put marks between the numbers."""
    match = HEADER.match(line)
    if match is None and not line.isascii() and any(mark in line[:30] for mark in MARKS):
        match = HEADER.match(MARK_BEFORE.sub("", line[:40]) + line[40:])
    return match


class _Names:
    """Who signs the lines of a file: people, some with a colon in their name, the group itself."""

    def __init__(self, title: str) -> None:
        self._candidates: dict[str, tuple[str | None, int]] = defaultdict(lambda: (None, 0))
        self._settled: set[str] = set()
        self._signed: Counter[str] = Counter()
        self._texts: dict[str, list[str]] = {}
        """The first lines of who may be the group."""
        self._may_be_group = {title, re.sub(r"^.*WhatsApp\W*(?:\w+ )?(?:with |[-–] )?", "", title)}
        self.has_group_notices = False

    def see(self, rest: str) -> None:
        """Take what stands behind the time."""
        name, colon, text = rest.partition(": ")
        if not colon or unbalanced(name):
            self._see_notice(rest)
            return
        if name in self._signed or len(self._signed) < MOST_NAMES:
            self._signed[name] += 1
        if name not in self._settled and len(self._candidates) <= MOST_NAMES:
            self._colon(name, text)
        by_app = text[:1] in MARKS and text != ""
        if by_app and is_encryption_notice(text):
            self._may_be_group.add(name)
        quotes = text.endswith(('"', "”", "“", "»", "」"))
        if quotes and (by_app or self._signed[name] == 1) and notice_of(text):
            self._see_notice(text)
        texts = self._texts.setdefault(name, []) if len(self._texts) < MOST_NAMES else []
        if len(texts) < 50:
            texts.append(text)

    def _see_notice(self, line: str) -> None:
        if len(line) < 300:
            quoted = QUOTED.findall(line)
            self._may_be_group.update(quoted)
            found = notice_of(line)
            self.has_group_notices |= isinstance(found, Move) or bool(found and quoted)

    def _colon(self, name: str, text: str) -> None:
        longer, again, _ = text.partition(": ")
        before, n = self._candidates[name]
        if not again or len(longer) > 40 or (n and longer != before):
            self._settled.add(name)
            self._candidates.pop(name, None)
        else:
            self._candidates[name] = longer, n + 1

    def with_colon(self) -> dict[str, str]:
        """What stands before the first colon -> the whole name, where all messages agree."""
        return {
            name: f"{name}: {longer}"
            for name, (longer, n) in self._candidates.items()
            if n >= ONE_NAME_IN
        }

    def people(self, nobody: frozenset[str]) -> int:
        """How many people sign."""
        return sum(name not in nobody for name in self._signed)

    def beginnings(self) -> frozenset[str]:
        """What stands once before a colon, is long, and begins with somebody's whole name."""
        return frozenset(
            name
            for name, n in self._signed.items()
            if n == 1 and len(name) > 25 and (self._of_another(name) or notice_of(name))
        )

    def titles(self) -> frozenset[str]:
        """The names of the group: those by which nothing is signed but notices."""
        return frozenset(
            name
            for name, texts in self._texts.items()
            if name.strip(MARKS + " ") in self._may_be_group
            and all(
                text[:1] in MARKS or notice_of(text) or self._of_another(text) for text in texts
            )
        )

    def _of_another(self, text: str) -> bool:
        """A line that begins with somebody's whole name."""
        return any(
            text.startswith(f"{name} ") for name, n in self._signed.most_common(200) if n > 1
        )


class _Chat:
    """Makes records of the messages of one file."""

    def __init__(self, file: File, facts: _Facts) -> None:
        self._file, self._facts, self._clock = file, facts, Clock(facts.order)
        self._people: dict[str, Person | None] = {}
        self.name = _title(file)

    def records(
        self, number: int, header: _Header, first: str, more: list[str]
    ) -> Sequence[Record]:
        time = self._clock.read(header.date, header.hour, header.minute, header.second)
        if time is None:
            return (Malformed(f"{self._file.where}:{number}", "a date that does not exist"),)
        name, colon, text = first.partition(": ")
        if not colon and first.endswith(":"):
            name, colon, text = first[:-1], ":", ""
        if longer := self._facts.long_names.get(name):
            name, text = longer, text[len(longer) - len(name) :]
        person = self._person(name) if colon else None
        if person is None:
            return self._system(first, time[0], text)
        if more:
            text = "\n".join([text, *more])
        if torn(text):
            return (Malformed(f"{self._file.where}:{number}", "not UTF-8"),)
        own = text.startswith(person.name) and text != person.name
        if own and not more and (notice_of(text) or marked(text)):
            return self._system(first, time[0], text)
        message = message_of(text, time[1], self._facts.attached)
        if message is None:
            return self._system(first, time[0], text)
        shown = "" if message.text == text else text
        doubt = (own and self._facts.style.bracket) or (
            (message.kind != "text" or "(" in text) and doubtful(message, text)
        )
        group = self._facts.group
        return (Sent(self.name, person, message, time[0], group=group, shown=shown, doubt=doubt),)

    def _person(self, name: str) -> Person | None:
        """Who signs; None for the group, and for a notice with a colon in it."""
        if name not in self._people:
            known = name not in self._facts.nobody and not unbalanced(name)
            plain = name.strip(MARKS + " \u00a0\u202f~").encode("utf-8", "replace").decode() or "?"
            self._people[name] = Person(plain, plain) if known else None
        return self._people[name]

    def _system(self, line: str, at: float, text: str = "") -> Sequence[Record]:
        found = notice_of(text or line)
        if isinstance(found, Move):
            names = (name.strip(MARKS + " ~") for name in found.who)
            people = tuple(name for name in names if not re.fullmatch(r"\d+ [^\W\d]+", name))
            moved = [Presence(self.name, people, found.here, at)] if people else []
            return (*moved, Skipped("somebody came or went", line))
        return (Skipped("system line", line),)
