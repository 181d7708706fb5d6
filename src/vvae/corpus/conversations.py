"""From a stream of messages to dialogues: who is who, where one conversation ends, who was there.

Two passes over an export. The first (`Survey`) counts people and the silences between messages; the
second (`Builder`) makes dialogues as it goes, so that an export may be larger than memory.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from vvae.core.dialogue import Dialogue, Message, Reaction, Turn
from vvae.corpus.formats import Person, Presence, Sent, Speech, bursts

__all__ = ["Builder", "Chat", "Identities", "Silences", "Survey"]

LEAST_GAP, USUAL_GAP, MOST_GAP = 10 * 60.0, 60 * 60.0, 12 * 3600.0
ENOUGH_GAPS = 50
BINS_AN_OCTAVE = 4
BINS = 28 * BINS_AN_OCTAVE
"""From one second to eight years."""
LONGEST = 250
"""Messages after which a conversation that never falls silent is cut; models see less."""
MOST_OPEN = 4096
SYMBOLS = {"user", "assistant", "human", "gpt", "model", "bot", "me", "chatgpt", "bing"}
"""Roles, which are nobody's name."""


class Silences:
    """A histogram of how long the silences of a chat are, on a logarithmic scale."""

    def __init__(self) -> None:
        self.counts = [0] * BINS

    def add(self, seconds: float) -> None:
        """Count one silence."""
        self.counts[_bin(seconds)] += 1

    def threshold(self) -> float:
        """Return the silence, in seconds, that ends a conversation.

        Silences within a conversation and between two are two heaps on a logarithmic scale; the cut
        is where their variance between the two is greatest (Otsu 1979), held between ten minutes
        and twelve hours. With fewer than 50
        silences: an hour.
        """
        if sum(self.counts) < ENOUGH_GAPS:
            return USUAL_GAP
        counts = np.array(self.counts, dtype=np.float64)
        n = counts.cumsum()
        total = counts @ np.arange(BINS)
        below = (counts * np.arange(BINS)).cumsum()
        with np.errstate(divide="ignore", invalid="ignore"):
            between = n * (n[-1] - n) * (below / n - (total - below) / (n[-1] - n)) ** 2
        best = np.nanmax(between)
        cuts = np.flatnonzero(between >= best * (1 - 1e-9))
        edge = float(2 ** ((cuts.mean() + 1) / BINS_AN_OCTAVE))
        return min(max(edge, LEAST_GAP), MOST_GAP)


def _bin(seconds: float) -> int:
    return min(int(math.log2(seconds) * BINS_AN_OCTAVE), BINS - 1) if seconds > 1 else 0


@dataclass
class Chat:
    """A chat, with what is known of it after the first pass."""

    label: str
    """What it is called from here on; its own name may be somebody's."""
    messages: int = 0
    silences: Silences = field(default_factory=Silences)
    people: set[str] = field(default_factory=set)
    first: str | None = None
    last: str | None = None
    group: bool = False


class Identities:
    """A record of who is who: ids and names of an export, joined where the user says so.

    Args:
        aliases: name -> the ids and names under which the person also writes.
    """

    def __init__(self, aliases: Mapping[str, list[str]] | None = None) -> None:
        self._joined = {
            form: name for name, forms in (aliases or {}).items() for form in [name, *forms]
        }
        self._names: dict[str, str] = {}
        self._owner: dict[str, str] = {}
        self.called: dict[str, set[str]] = defaultdict(set)
        """Name -> every way the person is called."""
        for name, forms in (aliases or {}).items():
            self.called[name] |= {name, *forms}

    def meet(self, format: str, person: Person) -> str:
        """Return the name of somebody who writes: the alias, or the name shown; a second person of
        a name gets a number.
        """
        key = f"{format}:{person.id}"
        known_name = self._names.get(key)
        if known_name is not None:
            return known_name
        name = next(
            (self._joined[form] for form in (key, person.id, person.name) if form in self._joined),
            None,
        )
        if name is None:
            name = _free(person.name, key, self._owner)
        self._names[key] = name
        self.called[name] |= {person.name}
        return name

    def find(self, format: str, who: str) -> str:
        """Return the name of somebody named by id or by name, who may never have written."""
        return self._names.get(f"{format}:{who}") or self._joined.get(who) or who

    @property
    def names(self) -> set[str]:
        """Return everybody who writes, or is in the alias file."""
        return set(self.called)


def _free(name: str, key: str, owner: dict[str, str]) -> str:
    number, free = 1, name
    while owner.setdefault(free, key) != key:
        number += 1
        free = f"{name} ({number})"
    return free


class Survey:
    """A first pass over an export: it counts people, chats and silences."""

    def __init__(self, identities: Identities) -> None:
        self.identities = identities
        self.chats: dict[tuple[str, str], Chat] = {}
        self.messages: Counter[str] = Counter()
        """By speaker."""
        self._last: dict[tuple[str, str, str | None], float] = {}
        self._numbers: Counter[str] = Counter()

    def chat(self, format: str, name: str) -> Chat:
        """Return the chat of a name, numbered in the order in which chats are met."""
        chat = self.chats.get((format, name))
        if chat is None:
            self._numbers[format] += 1
            chat = self.chats[format, name] = Chat(f"{format}-{self._numbers[format]}")
        return chat

    def sent(self, format: str, sent: Sent) -> None:
        """Count a message."""
        chat = self.chat(format, sent.chat)
        name = self.identities.meet(format, sent.person)
        self.messages[name] += 1
        chat.messages += 1
        chat.group |= sent.group
        if len(chat.people) < LONGEST:
            chat.people.add(name)
        if (time := sent.message.time) is not None:
            chat.first = time if chat.first is None or time < chat.first else chat.first
            chat.last = time if chat.last is None or time > chat.last else chat.last
        if sent.at is not None and sent.thread is None:
            key = (format, sent.chat, None)
            if key in self._last:
                chat.silences.add(sent.at - self._last[key])
            self._last[key] = sent.at

    def dialogue(self, dialogue: Dialogue) -> None:
        """Count the messages of a ready-made dialogue by speaker."""
        for turn in dialogue.turns:
            self.messages[self.identities.meet("", Person(turn.speaker, turn.speaker))] += len(
                turn.messages
            )


@dataclass
class _Open:
    speeches: list[Speech] = field(default_factory=list)
    last: float | None = None


class Builder:
    """A second pass: it makes dialogues of messages, closing each when its chat falls silent.

    Args:
        rename: name -> what the speaker is called in the dialogues.
        gap: seconds of silence that end a conversation, for all chats; by each chat's own silences
            where None.
    """

    def __init__(
        self, survey: Survey, rename: Callable[[str], str], gap: float | None = None
    ) -> None:
        self._survey, self._rename, self._gap = survey, rename, gap
        self._open: OrderedDict[tuple[str, str, str | None], _Open] = OrderedDict()
        self._members: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
        self._limits: dict[tuple[str, str], float] = {}
        self._last: dict[str, str] = {}
        self._again: Counter[str] = Counter()
        self.closed: Counter[str] = Counter()
        """Messages of conversations that are none, by reason."""

    def limit(self, format: str, chat: str) -> float:
        """Return the silence that ends a conversation in a chat, in seconds."""
        if (format, chat) not in self._limits:
            seconds = (
                self._survey.chat(format, chat).silences.threshold()
                if self._gap is None
                else self._gap
            )
            self._limits[format, chat] = seconds
        return self._limits[format, chat]

    def presence(self, format: str, event: Presence) -> None:
        """Note that somebody came or went."""
        members = self._members[format, event.chat]
        for who in event.people:
            name = self._rename(self._survey.identities.find(format, who))
            if event.here:
                members[name] = None
            else:
                members.pop(name, None)

    def add(self, format: str, sent: Sent) -> Iterator[Dialogue]:
        """Take a message and yield the conversations that are over."""
        key = (format, sent.chat, sent.thread)
        speaker = self._rename(self._survey.identities.meet(format, sent.person))
        members = self._members[format, sent.chat]
        members[speaker] = None
        current = self._open.get(key)
        if current is not None and self._over(current, sent, format):
            yield from self._close(key)
            current = None
        if current is None:
            current = self._open[key] = _Open()
            if len(self._open) > MOST_OPEN:
                yield from self._close(next(iter(self._open)))
        chat = self._survey.chat(format, sent.chat)
        current.speeches.append(
            Speech(speaker, self._finished(format, sent.message, chat, tuple(members)))
        )
        if sent.at is not None:
            current.last = sent.at if current.last is None else max(current.last, sent.at)

    def _over(self, current: _Open, sent: Sent, format: str) -> bool:
        if len(current.speeches) >= LONGEST:
            return True
        if sent.thread is not None or sent.at is None or current.last is None:
            return False
        return sent.at - current.last > self.limit(format, sent.chat)

    def _finished(
        self, format: str, message: Message, chat: Chat, members: tuple[str, ...]
    ) -> Message:
        reactions = message.reactions
        present = members if chat.group or len(chat.people) > 2 else None
        if reactions is None and present is None:
            return message
        find = self._survey.identities.find
        renamed = (
            None
            if reactions is None
            else tuple(
                Reaction(emoji, None if by is None else self._rename(find(format, by)))
                for emoji, by in reactions
            )
        )
        m = message  # made anew, as `replace` takes three times as long
        return Message(m.text, m.id, m.time, m.kind, m.reply_to, renamed, m.edited, present)

    def finish(self) -> Iterator[Dialogue]:
        """Yield the conversations that are still open."""
        while self._open:
            yield from self._close(next(iter(self._open)))

    def _close(self, key: tuple[str, str, str | None]) -> Iterator[Dialogue]:
        format, chat_name, _ = key
        speeches = self._open.pop(key).speeches
        if len({speech.speaker for speech in speeches}) < 2:
            self.closed["nobody answered"] += len(speeches)
            return
        chat = self._survey.chat(format, chat_name)
        yield Dialogue(
            self.name(chat.label, speeches[0].message.time),
            bursts(speeches),
            self.meta(format, chat),
        )

    def name(self, label: str, time: str | None) -> str:
        """Return an id for a conversation: its chat and when it began."""
        base = f"{label}@{time[:16]}" if time else label
        if time and base > self._last.get(label, ""):
            self._last[label] = base
            return base
        self._again[label] += 1  # in the same minute, or out of order
        return f"{base}.{self._again[label]}"

    @staticmethod
    def meta(format: str, chat: Chat) -> tuple[tuple[str, str], ...]:
        """Return what a dialogue says of where it is from."""
        return (
            ("chat", chat.label),
            ("platform", format),
            ("type", "group" if chat.group else "direct"),
        )

    def rebuilt(self, number: int, format: str, dialogue: Dialogue) -> Dialogue:
        """Return a ready-made dialogue with its speakers renamed, and an id that says nothing of
        its file.
        """
        meet = self._survey.identities.meet
        turns = tuple(
            Turn(t.id, self._rename(meet("", Person(t.speaker, t.speaker))), t.messages)
            for t in dialogue.turns
        )
        return Dialogue(f"{format}:{number}", turns, (("platform", format),))
