"""LINE's "Export chat history" as text: a date above each day, and time, name and text of a message
with tabs between them (phones) or single spaces (computers).

https://help.line.me has no description; the layouts are those of its apps in English, Japanese,
Chinese, Korean and Thai. Replies and reactions are not exported.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

import yaml

from vvae.core.dialogue import Message
from vvae.corpus.formats import Hints, Malformed, Person, Presence, Record, Sent, Skipped
from vvae.corpus.formats.dates import Clock, Dating, hour_of
from vvae.corpus.formats.files import File, torn
from vvae.corpus.formats.phrases import any_of, move_of

__all__ = ["read", "recognise"]

HALVES = "[AaPp]\\.?[Mm]\\.?|上午|下午|午前|午後|오전|오후"
CLOCK = (
    rf"(?P<before>{HALVES})?\s?(?P<hour>\d{{1,2}})[:.](?P<minute>\d{{2}})\s?(?P<after>{HALVES})?"
)
LINE = re.compile(rf"{CLOCK}(?P<gap>\t| )(?P<rest>.*)", re.DOTALL)
WEEKDAY = r"[(（]?[^\d\t:：()（）]{1,12}[)）]?"
DATE = re.compile(
    rf"(?:{WEEKDAY},? ?)?(?P<a>R?\d{{1,4}})(?P<dot>[./年년])\s?(?P<b>\d{{1,2}})[./月월]\s?"
    rf"(?P<c>\d{{1,4}})[日일.]?,?\s?(?:{WEEKDAY})?"
)
REIWA = 2018
CALL = re.compile(r"☎.*")
LASTED = re.compile(r"\d{1,2}:\d{2}(?::\d{2})?")
BRACKETED = re.compile(r"\[([^\[\]]{1,20})\](?:\s.*)?", re.DOTALL)
MOST_NAMES = 10_000
MOSTLY = 0.8
OFTEN = 3
"""Lines of somebody who shares a first name with others."""


def recognise(file: File) -> str | None:
    """Return why a file is LINE's: its title, or a date above lines of time, name and text."""
    lines = [line.rstrip("\r") for line in file.head.lstrip("\ufeff").split("\n")[:40]]
    phrases = _phrases()
    saved = any(line.startswith(phrases.saved) for line in lines[:3])
    if lines[0].startswith("[LINE] ") or (saved and any("\t" in line for line in lines)):
        return "the title of a chat of LINE"
    dated = next((i for i, line in enumerate(lines) if DATE.fullmatch(line)), None)
    tabs = sum(line.count("\t") >= 2 and LINE.match(line) is not None for line in lines)
    if dated is None or not (tabs or re.search(r"[^\W\d]", lines[dated])):
        return None
    begun = sum(LINE.match(line) is not None for line in lines[dated + 1 :])
    return "days and lines of time, name and text" if tabs or begun > 1 else None


class _Facts(NamedTuple):
    tabs: bool
    names: tuple[str, ...]
    """Of a file without tabs: who writes, the longest name first."""
    clock: Clock


def read(files: Sequence[File], hints: Hints) -> Iterator[Record]:
    """Yield the messages of each file; a file is a chat."""
    for file in files:
        yield from _Chat(file, _facts(file, hints)).records()


def _facts(file: File, hints: Hints) -> _Facts:
    """What only the whole file tells: how fields are separated, the order of dates, who writes."""
    dating: Dating | None = None
    tabs = 0
    starts, alone = Counter[str](), Counter[str]()
    for _, text in file.lines():
        if match := _date(text):
            dating = dating or Dating(
                dotted=match["dot"] == ".", option=hints.dates, where=file.where
            )
            dating.see(_numbers(match))
        elif match := LINE.match(text):
            tabs += match["gap"] == "\t"
            words = match["rest"].split(" ")
            if len(starts) < MOST_NAMES:
                starts.update(" ".join(words[:n]) for n in range(1, min(4, len(words))))
                alone[" ".join(words[:-1])] += 1
    title = _title(file)
    names = {*_names(starts, alone, title), *({title} & starts.keys())}
    order = (
        dating.order()
        if dating is not None
        else Dating(dotted=True, option="auto", where="").order()
    )
    return _Facts(tabs > 0, tuple(sorted(names, key=len, reverse=True)[:500]), Clock(order))


def _title(file: File) -> str:
    """What the chat is called: in one of two people, the other."""
    return file.chat.replace("[LINE] ", "").replace("[LINE]", "")


def _names(starts: Mapping[str, int], alone: Mapping[str, int], title: str) -> Iterator[str]:
    """Who writes, by how often lines begin with the same words. A name is longer by a word where
    nearly all of its lines have that word, or one of several that come again and again (Ana Maria,
    Ana Lopez), and none is of one word more: that would be a message of one word.

    Args:
        alone: how often words stand before a last one.
    """
    longer: dict[str, list[str]] = defaultdict(list)
    for words, times in starts.items():
        if times > 1:
            longer[words.rpartition(" ")[0]].append(words)

    def grown(words: str) -> Iterator[str]:
        further = [more for more in longer[words] if starts[more] >= OFTEN] or longer[words]
        have_it = sum(starts[more] for more in further)
        if words != title and not alone.get(words) and have_it >= MOSTLY * starts[words] > 0:
            for more in further:
                yield from grown(more)
        else:
            yield words

    for first in list(longer[""]):
        yield from grown(first)


def _date(text: str) -> re.Match[str] | None:
    return DATE.fullmatch(text.strip()) if len(text) < 40 else None


def _numbers(match: re.Match[str]) -> tuple[str, str, str]:
    first = match["a"]
    if first.startswith("R"):
        first = str(REIWA + int(first[1:] or 0))
    return first, match["b"], match["c"]


class _Chat:
    def __init__(self, file: File, facts: _Facts) -> None:
        self._file, self._facts = file, facts
        self.name = _title(file)
        self._day: tuple[str, str, str] | None = None
        self._at = 0.0

    def records(self) -> Iterator[Record]:
        pending: tuple[int, re.Match[str], list[str]] | None = None
        for number, text in self._file.lines():
            date = _date(text)
            match = None if date else self._begins(text)
            if (date or match) and pending:
                yield from self._record(*pending)
                pending = None
            if date:
                self._day = _numbers(date)
            elif match:
                pending = number, match, []
            elif pending:
                pending[2].append(text)
            elif text.strip() and self._day is not None:
                yield Malformed(f"{self._file.where}:{number}", "a line before the first message")
        if pending:
            yield from self._record(*pending)

    def _begins(self, text: str) -> re.Match[str] | None:
        match = LINE.match(text) if self._day is not None else None
        return match if match and (match["gap"] == "\t") is self._facts.tabs else None

    def _record(self, number: int, match: re.Match[str], more: list[str]) -> Iterator[Record]:
        hour = hour_of(int(match["hour"]), match["before"] or match["after"])
        assert self._day is not None
        moment = self._facts.clock.read(self._day, hour, int(match["minute"]), 0)
        where = f"{self._file.where}:{number}"
        if moment is None:
            yield Malformed(where, "a date that does not exist")
            return
        name, text, doubt = self._split(match["rest"])
        text = "\n".join([text, *more]).rstrip("\n")
        if torn(name + text):
            yield Malformed(where, "not UTF-8")
            return
        if not name:
            yield from self._notice(text, moment[0])
            return
        if text.startswith('"') and text.endswith('"') and len(text) > 1 and "\n" in text:
            text = text[1:-1].replace('""', '"')
        kind, said = _said(text, bare=not self._facts.tabs)
        body = Message(said, time=moment[1], kind=kind)
        shown = "" if said == text else text
        yield Sent(self.name, Person(name, name), body, moment[0], shown=shown, doubt=doubt)

    def _split(self, rest: str) -> tuple[str, str, bool]:
        """(name, text, whether the name is a guess); no name for what nobody said."""
        if self._facts.tabs:
            name, tab, text = rest.partition("\t")
            return (name.strip(), text, False) if tab else ("", rest, False)
        plain, phrases = rest.strip().rstrip(".。"), _phrases()
        if _unsent(rest) or move_of(plain, phrases.joined, phrases.left):
            return "", rest, False
        if name := next((n for n in self._facts.names if rest.startswith(f"{n} ")), ""):
            return name, rest[len(name) + 1 :], False
        name, _, text = rest.partition(" ")  # somebody who writes once
        return (name, text, True) if text and name != "☎" else ("", rest, False)

    def _notice(self, text: str, at: float) -> Iterator[Record]:
        phrases = _phrases()
        plain = text.strip().rstrip(".。")
        if (move := move_of(plain, phrases.joined, phrases.left)) and move.who:
            yield Presence(self.name, move.who, move.here, at)
            yield Skipped("somebody came or went", text)
        elif _unsent(text):
            yield Skipped("taken back", text)
        else:
            yield Skipped("system line", text)


def _unsent(text: str) -> bool:
    return _phrases().unsent.fullmatch(text.strip().rstrip(".。")) is not None


def _said(text: str, *, bare: bool) -> tuple[str, str]:
    """(kind, text) of a message; `bare` says that placeholders stand without brackets."""
    phrases = _phrases()
    if CALL.fullmatch(text) or text in phrases.calls:
        return "call", ""
    if bare and (text in phrases.media or LASTED.fullmatch(text)):
        return phrases.media.get(text, "call"), ""
    if _unsent(text):
        return "deleted", ""
    match = BRACKETED.fullmatch(text)
    kind = phrases.media.get(match[1]) if match else None
    if kind is not None:
        return kind, ""
    return ("text" if text else "media"), text


class _Phrases(NamedTuple):
    saved: tuple[str, ...]
    media: dict[str, str]
    calls: frozenset[str]
    unsent: re.Pattern[str]
    joined: re.Pattern[str]
    left: re.Pattern[str]


@cache
def _phrases() -> _Phrases:
    text = resources.files("vvae.corpus.formats").joinpath("line.yaml").read_text("utf-8")
    data: dict[str, Any] = yaml.safe_load(text)
    return _Phrases(
        tuple(data["saved"]),
        {word: kind for kind, words in data["media"].items() for word in words},
        frozenset(data["calls"]),
        *(any_of(data[name]) for name in ("unsent", "joined", "left")),
    )
