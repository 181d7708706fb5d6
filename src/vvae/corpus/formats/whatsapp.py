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

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import NamedTuple

import yaml

from vvae.core.dialogue import Message
from vvae.core.errors import DataError
from vvae.corpus.formats import Dates, Hints, Malformed, Person, Presence, Record, Sent, Skipped
from vvae.corpus.formats.dates import Clock, Dating, Order
from vvae.corpus.formats.files import File
from vvae.corpus.formats.phrases import Move, any_of, move_of

__all__ = ["read", "recognise"]

MARKS = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
SPACE = "[ \u00a0\u2009\u202f]"
MERIDIEM = (
    rf"[AaPp]\.?{SPACE}?[Mm]\.?|[AaPp]\b|上午|中午|下午|晚上|凌晨|早上|清晨|午前|午後|오전|오후|ص|م|"
    "पूर्वाह्न|अपराह्न|π\\.μ\\.|μ\\.μ\\."
)
LATE = re.compile(r"p|下午|晚上|午後|오후|م|अपराह्न|中午|μ\.μ", re.IGNORECASE)
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
WHOLE_PLACEHOLDER = re.compile(r"<[^<>\n]{4,60}>")
NAME = r"(?P<name>[^<>\n]{1,200}\.(?P<type>\w{1,5}))"
ATTACHED = re.compile(rf" ?<[^<>:\n]{{1,40}}: ?[{MARKS}]*{NAME}>")
ATTACHED_BEHIND = re.compile(rf"{NAME} <[^<>:\n]{{3,40}}>")
ATTACHED_ANDROID = re.compile(rf"{NAME} \((?P<word>[^()\n]{{3,60}})\)")
OWN_FILE = re.compile(r"[A-Z]{3}-\d{8}-WA\d{4}\.\w{2,5}")
"""What the app itself calls a file; what stands in parentheses behind it is the app's word."""
DESCRIBED = re.compile(rf"(?P<file>[^\n]{{1,200}}\.\w{{1,5}}) • [{MARKS}]*\d+ \S{{1,12}} ?")
PLACE = re.compile(
    r"[^\n:]{2,20}: https?://(?:maps\.google|maps\.app|www\.google\.\w+/maps|goo\.gl/maps)\S*"
)
SIGNS = re.compile("[<(:•\u200e]")
"""One of these stands in all that the app writes with a file, place or poll."""
HALVES = re.compile("[\ud800-\udfff]")
"""What stands for bytes that were no UTF-8."""
POLL = re.compile(
    r"[^\s:：]{2,15} ?[:：]\n.+(?:\n[^\s:：]{2,15} ?[:：].*\(\d+ [^()]{1,20}\))+", re.DOTALL
)
LASTED = re.compile(
    rf"[{MARKS}]*\d+ ?[^\W\d]{{1,12}}\.?(?: \d+ ?[^\W\d]{{1,12}}\.?)*"
    r"|\d{1,2}:\d{2}(?::\d{2})?"
)
QUOTES = (("“", "”"), ("„", "“"), ("«", "»"), ("「", "」"))
QUOTED = re.compile(r"[\"“„«「]([^\"“”„«»「」\n]{1,100})[\"”“»」]")
ONE_NAME_IN = 3
"""So many messages of a speaker show whether a colon belongs to the name."""
MOST_NAMES = 10_000
KINDS = {
    **dict.fromkeys(("jpg", "jpeg", "png", "heic"), "image"),
    **dict.fromkeys(("mp4", "mov", "3gp"), "video"),
    **dict.fromkeys(("opus", "m4a", "mp3", "ogg", "aac"), "audio"),
    **dict.fromkeys(("webp", "was", "tgs"), "sticker"),
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
            attached |= {_folded(match["word"])} if own and len(attached) < 10 else set()
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
                (a, b, c), _hour(int(hour), before or after), int(minute), int(second or 0), rest
            ),
            text,
        )


def _match(line: str) -> re.Match[str] | None:
    """The parts of a line that begins a message. Arabic phones put marks between the numbers."""
    match = HEADER.match(line)
    if match is None and not line.isascii() and any(mark in line[:30] for mark in MARKS):
        match = HEADER.match(MARK_BEFORE.sub("", line[:40]) + line[40:])
    return match


def _hour(hour: int, meridiem: str | None) -> int:
    """The hour from 0 to 23."""
    if meridiem is None or hour > 12:
        return hour
    if LATE.search(meridiem):
        return hour if hour == 12 or (meridiem == "中午" and hour > 10) else hour + 12
    return 0 if hour == 12 else hour


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
        if not colon or _unbalanced(name):
            self._notice(rest)
            return
        if name in self._signed or len(self._signed) < MOST_NAMES:
            self._signed[name] += 1
        if name not in self._settled and len(self._candidates) <= MOST_NAMES:
            self._colon(name, text)
        if (marked := text[:1] in MARKS and text != "") or self._signed[name] == 1:
            if marked and _phrases().encryption.search(text):
                self._may_be_group.add(name)
            if text.endswith(('"', "”", "“", "»", "」")) and _notice(text):
                self._notice(text)
        texts = self._texts.setdefault(name, []) if len(self._texts) < MOST_NAMES else []
        if len(texts) < 50:
            texts.append(text)

    def _notice(self, line: str) -> None:
        if len(line) < 300:
            quoted = QUOTED.findall(line)
            self._may_be_group.update(quoted)
            found = _notice(line)
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
            if n == 1 and len(name) > 25 and (self._of_another(name) or _notice(name))
        )

    def titles(self) -> frozenset[str]:
        """The names of the group: those by which nothing is signed but notices."""
        return frozenset(
            name
            for name, texts in self._texts.items()
            if name.strip(MARKS + " ") in self._may_be_group
            and all(text[:1] in MARKS or _notice(text) or self._of_another(text) for text in texts)
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
        if not text.isascii() and HALVES.search(text):
            return (Malformed(f"{self._file.where}:{number}", "not UTF-8"),)
        own = text.startswith(person.name) and text != person.name
        if own and not more and (_notice(text) or _marked(text)):
            return self._system(first, time[0], text)
        message = _message(text, time[1], self._facts)
        if message is None:
            return self._system(first, time[0], text)
        shown = "" if message.text == text else text
        doubt = (own and self._facts.style.bracket) or (
            (message.kind != "text" or "(" in text) and _doubtful(message, text)
        )
        group = self._facts.group
        return (Sent(self.name, person, message, time[0], group=group, shown=shown, doubt=doubt),)

    def _person(self, name: str) -> Person | None:
        """Who signs; None for the group, and for a notice with a colon in it."""
        if name not in self._people:
            known = name not in self._facts.nobody and not _unbalanced(name)
            plain = name.strip(MARKS + " \u00a0\u202f~").encode("utf-8", "replace").decode() or "?"
            self._people[name] = Person(plain, plain) if known else None
        return self._people[name]

    def _system(self, line: str, at: float, text: str = "") -> Sequence[Record]:
        found = _notice(text or line)
        if isinstance(found, Move):
            people = tuple(name.strip(MARKS + " ~") for name in found.who)
            moved = [Presence(self.name, people, found.here, at)] if people else []
            return (*moved, Skipped("somebody came or went", line))
        return (Skipped("system line", line),)


def _unbalanced(name: str) -> bool:
    """A quotation is open in what stands before a colon: the colon belongs to a notice."""
    return name.count('"') % 2 == 1 or any(
        name.count(a) != name.count(b) for a, b in QUOTES if a in name
    )


def _marked(text: str) -> bool:
    return "\u200e" in text[:3]


def _message(text: str, time: str, facts: _Facts) -> Message | None:
    """A message from its text; None for a line of the app's own that carries a name."""
    if len(text) > 150 and "<" not in text and "(" not in text and text.isascii():
        return Message(text, time=time, kind="text")
    phrases = _phrases()
    marked = _marked(text)
    plain = text.strip(MARKS + " \n\u202f")
    edited = False
    if (
        plain.endswith(">")
        and (at := plain.rfind("<")) >= 0
        and _folded(plain[at:]) in phrases.edited
    ):
        plain, edited = plain[:at].rstrip(MARKS + " \n"), True
    if (found := _placeholder(plain, facts, marked=marked)) is not None:
        kind, caption = found
        return Message(caption, time=time, kind=kind)
    if marked and not edited:
        return None
    if not plain.isascii() and ("\u2068" in plain or "\u2069" in plain):  # around a mention
        plain = plain.replace("\u2068", "").replace("\u2069", "")
    return Message(plain, time=time, kind="text", edited=edited or None)


def _placeholder(plain: str, facts: _Facts, *, marked: bool) -> tuple[str, str] | None:
    """The kind of something that is no text, and the caption with it; None for what was said."""
    phrases = _phrases()
    first, newline, rest = plain.partition("\n")
    folded = _folded(first)
    kind = phrases.whole.get(folded)
    if kind is not None and (not newline or first.startswith("<") or marked):
        return kind, rest.strip(MARKS + " \n")
    if not newline:
        if plain == "null":
            return "media", ""
        if _is_call(first, marked=marked):
            return "call", ""
        if folded[:6] in phrases.deleted_beginnings and phrases.deleted_by.fullmatch(folded):
            return "deleted", ""
    if not marked and not SIGNS.search(plain):
        return None
    if ":" in plain and (PLACE.fullmatch(plain) or POLL.fullmatch(plain)):
        return ("poll" if newline else "location"), ""
    if found := _attached(plain, first, rest, facts):
        return found
    if WHOLE_PLACEHOLDER.fullmatch(plain) and " " in plain:
        return "media", ""
    if not plain.isascii() and "\u200e" in plain:
        before, _, last = plain.rpartition("\u200e")
        if (kind := phrases.whole.get(_folded(last))) is not None:
            return kind, _caption(before, "")
    if (match := DESCRIBED.match(plain)) and (
        (kind := phrases.whole.get(_folded(plain[match.end() :]))) is not None
    ):
        return kind, ""
    if marked:
        if plain.startswith("<"):
            return "media", ""
        if folded.startswith("http") or "maps" in folded:
            return "location", ""
        if folded.startswith(("poll", "encuesta", "umfrage", "sondage", "enquete", "投票")):
            return "poll", ""
    return None


def _attached(plain: str, first: str, rest: str, facts: _Facts) -> tuple[str, str] | None:
    """A file that is named, wherever the app names it, and what was said with it."""
    if "<" in plain:
        if match := ATTACHED.search(plain):
            around = f"{plain[: match.start()]}\n{plain[match.end() :]}"
            return _file_kind(match), _caption(around, match["name"])
        if match := ATTACHED_BEHIND.fullmatch(first):
            return _file_kind(match), _caption(rest, match["name"])
    if "(" in first and (match := ATTACHED_ANDROID.fullmatch(first)):
        word = _folded(match["word"])
        if word in _phrases().attached or word in facts.attached:
            return _file_kind(match), _caption(rest, match["name"])
    return None


def _file_kind(match: re.Match[str]) -> str:
    return KINDS.get(match["type"].lower(), "file")


def _caption(text: str, name: str) -> str:
    """What was said with a file, without the file's own name and number of pages."""
    plain = text.strip(MARKS + " \n")
    if match := DESCRIBED.match(plain):
        plain = plain[match.end() :].strip(MARKS + " \n")
    bare = re.sub(r"^\d{8}-", "", name)
    return "" if plain in (name, bare, bare.rpartition(".")[0]) else plain


def _is_call(line: str, *, marked: bool) -> bool:
    """A call with how it ended; without a mark only where the end is one that the app writes."""
    at = line.find(", ")
    at = line.find(". ") if at < 0 else at
    phrases = _phrases()
    if not 3 < at < 50 or _folded(line[:at]) not in phrases.calls:
        return False
    end = line[at + 2 :].strip(MARKS + " .")
    return marked or not end or _folded(end) in phrases.call_ends or bool(LASTED.fullmatch(end))


def _doubtful(message: Message, text: str) -> bool:
    """Whether a line may as well be the other: a person's and taken for the app's, or the app's and
    taken for a person's.
    """
    first = text.partition("\n")[0]
    if message.kind != "text":
        unknown = first.startswith("<") and _folded(first) not in _phrases().whole
        return text == "null" or (message.kind == "media" and unknown)
    return "(" in first and ATTACHED_ANDROID.fullmatch(first) is not None


@lru_cache(maxsize=4096)
def _notice(line: str) -> Move | bool:
    """What a line says if the app wrote it; False for any other."""
    plain = line.strip(MARKS + " ~").rstrip(".。")
    if len(plain) > 300 or "\n" in plain:
        return False
    phrases = _phrases()
    if len(plain) < 200 and (move := move_of(plain, phrases.joined, phrases.left)):
        return move
    return bool(phrases.notices.fullmatch(plain) or phrases.encryption.search(plain))


class _Phrases(NamedTuple):
    whole: dict[str, str]
    """A whole message, folded -> the kind that it stands for."""
    deleted_by: re.Pattern[str]
    deleted_beginnings: frozenset[str]
    """The first six characters of what `deleted_by` matches."""
    edited: frozenset[str]
    attached: frozenset[str]
    calls: frozenset[str]
    call_ends: frozenset[str]
    encryption: re.Pattern[str]
    joined: re.Pattern[str]
    left: re.Pattern[str]
    notices: re.Pattern[str]


@cache
def _phrases() -> _Phrases:
    data = yaml.safe_load(
        resources.files("vvae.corpus.formats").joinpath("whatsapp.yaml").read_text("utf-8")
    )
    by = [_folded(phrase) for phrase in data["deleted"] if "NAME" in phrase]
    media = {_folded(phrase): kind for kind, phrases in data["media"].items() for phrase in phrases}
    calls, call_ends, edited, attached, deleted = (
        frozenset(map(_folded, data[name]))
        for name in ("calls", "call_ends", "edited", "attached", "deleted")
    )
    return _Phrases(
        media | dict.fromkeys(calls, "call") | dict.fromkeys(deleted, "deleted"),
        any_of(by),
        frozenset(phrase[:6] for phrase in by),
        edited,
        attached,
        calls,
        call_ends,
        re.compile("|".join(map(re.escape, data["encryption"])), re.IGNORECASE),
        any_of(data["joined"]),
        any_of(data["left"]),
        any_of(data["notices"], then=r"(?:[.,] .{1,150})?"),
    )


def _folded(text: str) -> str:
    return text.casefold().strip(MARKS + " \n\u202f<>.。").removesuffix("।")
