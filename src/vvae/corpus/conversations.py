"""From a stream of messages to dialogues: who is who, where one conversation ends, who was there.

Two passes over an export. The first (`Survey`) counts people and silences, and sees which way time
runs; the second (`Builder`) makes dialogues as it goes, so that an export may be larger than
memory.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from vvae.core.dialogue import Dialogue, Message, Reaction, Turn
from vvae.corpus.formats import Person, Presence, Sent, Speech, bursts
from vvae.corpus.silences import Silences

__all__ = ["Builder", "Chat", "Identities", "Survey", "Unit"]

GAPS = (3600.0, 4 * 3600.0, 12 * 3600.0, 86400.0, 3 * 86400.0)
"""Silences, in seconds, of which is told how many messages they would leave unanswered."""
LONGEST = 250
"""Messages after which a conversation that never falls silent is cut; models see less."""
MOST_OPEN = 4096
MOST_UNITS = 1 << 16
SYMBOLS = {"user", "assistant", "human", "gpt", "model", "bot", "me", "chatgpt", "bing"}
"""Roles, which are nobody's name."""

Unit = tuple[str, str, str | None]
"""What has an order of time of its own: format, chat, and thread where there are threads."""


@dataclass
class Chat:
    """A chat, with what is known of it after the first pass."""

    label: str
    """What it is called from here on; its own name may be somebody's."""
    messages: int = 0
    silences: Silences = field(default_factory=Silences)
    people: Counter[str] = field(default_factory=Counter)
    """Messages of each, of the first 250 people."""
    first: str | None = None
    last: str | None = None
    group: bool = False
    unanswered: list[int] = field(default_factory=lambda: [0] * len(GAPS))
    """Messages that nobody would answer if a silence of each of `GAPS` ended a conversation."""

    @property
    def chance(self) -> float:
        """Return the probability that two messages are of different people."""
        total = sum(self.people.values()) or 1
        return 1 - sum((n / total) ** 2 for n in self.people.values())


@dataclass(slots=True)
class _Clock:
    """Which way time runs in a unit, and what each of `GAPS` would leave unanswered in it."""

    last: float
    who: str
    highest: float
    lowest: float
    forward: int = 0
    back: int = 0
    early: int = 0
    """Messages earlier than one before them."""
    late: int = 0
    """Messages later than one before them."""
    number: int = 0
    changed_at: int = 0
    """Number of the last message that another person wrote than the one before."""
    starts: list[int] = field(default_factory=lambda: [0] * len(GAPS))

    def close(self, gap: int) -> int:
        """Begin a conversation anew; return how many messages of the last nobody answered."""
        start, self.starts[gap] = self.starts[gap], self.number
        return self.number - start if self.changed_at <= start else 0


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
            self.called[known_name].add(person.name)  # who goes by another name elsewhere
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
    """A first pass over an export: it counts people, chats and silences, and sees which way time
    runs.
    """

    def __init__(self, identities: Identities) -> None:
        self.identities = identities
        self.chats: dict[tuple[str, str], Chat] = {}
        self.messages: Counter[str] = Counter()
        """By speaker."""
        self.silences = Silences()
        """Of all chats."""
        self._clocks: OrderedDict[Unit, _Clock] = OrderedDict()
        self._broken: dict[Unit, _Clock] = {}
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
        if len(chat.people) < LONGEST or name in chat.people:
            chat.people[name] += 1
        if (time := sent.message.time) is not None:
            chat.first = time if chat.first is None or time < chat.first else chat.first
            chat.last = time if chat.last is None or time > chat.last else chat.last
        if sent.at is not None:
            self._tick(chat, (format, sent.chat, sent.thread), name, sent.at)

    def _tick(self, chat: Chat, unit: Unit, name: str, at: float) -> None:
        clock = self._clocks.get(unit)
        if clock is None:
            self._clocks[unit] = _Clock(at, name, at, at, number=1)
            if len(self._clocks) > MOST_UNITS:
                unit, clock = self._clocks.popitem(last=False)
                if clock.back:
                    self._broken[unit] = clock
            return
        step, changed = at - clock.last, name != clock.who
        if step < 0:
            clock.back += 1
        elif step > 0:
            clock.forward += 1
        if at < clock.highest:
            clock.early += 1
        else:
            clock.highest = at
        if at > clock.lowest:
            clock.late += 1
        else:
            clock.lowest = at
        if unit[2] is None:
            silence = abs(step)  # of a chat that is told backwards, too
            chat.silences.add(silence, changed=changed)
            self.silences.add(silence, changed=changed)
            for gap, seconds in enumerate(GAPS):
                if silence <= seconds:
                    break
                chat.unanswered[gap] += clock.close(gap)
            if changed:
                clock.changed_at = clock.number
            clock.number += 1
        clock.last, clock.who = at, name

    def company(self, name: str) -> tuple[int, Counter[str]]:
        """Return in how many chats somebody writes, and who else writes there, by messages."""
        chats = [chat for chat in self.chats.values() if name in chat.people]
        partners: Counter[str] = Counter()
        for chat in chats:
            partners.update({other: n for other, n in chat.people.items() if other != name})
        return len(chats), partners

    def disordered(self) -> dict[Unit, bool]:
        """Return the units in which time runs back somewhere, and whether they are told newest
        first.
        """
        return {unit: clock.back > clock.forward for unit, clock in self._out_of_order().items()}

    def out_of_order(self) -> int:
        """Return how many messages stand behind one that was sent later (in a chat that is told
        newest first, behind one that was sent earlier).
        """
        clocks = self._out_of_order().values()
        return sum(c.late if c.back > c.forward else c.early for c in clocks)

    def _out_of_order(self) -> dict[Unit, _Clock]:
        return self._broken | {unit: clock for unit, clock in self._clocks.items() if clock.back}

    def unanswered(self) -> dict[float, int]:
        """Return, for each of `GAPS`, how many messages nobody would answer if it ended a
        conversation.
        """
        counts = [chat.unanswered for chat in self.chats.values()]
        total = [sum(each) for each in zip(*counts, strict=True)]
        for (*_, thread), clock in self._clocks.items():
            if thread is None:
                total = [
                    n + replace(clock, starts=list(clock.starts)).close(gap)
                    for gap, n in enumerate(total)
                ]
        return dict(zip(GAPS, total, strict=False))

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
    answered: bool = False


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
        self._limits: dict[tuple[str, str], tuple[float, float]] = {}
        self._last: dict[str, str] = {}
        self._again: Counter[str] = Counter()
        self.closed: Counter[str] = Counter()
        """Messages of conversations that are none, by reason."""

    def limits(self, format: str, chat: str) -> tuple[float, float]:
        """Return the silences that end a conversation in a chat, in seconds: one that the same
        person breaks, and one that another person breaks, who may answer.
        """
        known = self._limits.get((format, chat))
        if known is None:
            own = self._survey.chat(format, chat)
            if self._gap is None:
                same = own.silences.threshold()
                known = same, max(same, own.silences.patience(own.chance, self._survey.silences))
            else:
                known = self._gap, self._gap
            self._limits[format, chat] = known
        return known

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
        if current is not None and self._over(current, sent, format, speaker):
            yield from self._close(key)
            current = None
        if current is None:
            current = self._open[key] = _Open()
            if len(self._open) > MOST_OPEN:
                yield from self._close(next(iter(self._open)))
        chat = self._survey.chat(format, sent.chat)
        if current.speeches and speaker != current.speeches[-1].speaker:
            current.answered = True
        current.speeches.append(
            Speech(speaker, self._finished(format, sent.message, chat, tuple(members)))
        )
        if sent.at is not None:
            current.last = sent.at if current.last is None else max(current.last, sent.at)

    def _over(self, current: _Open, sent: Sent, format: str, speaker: str) -> bool:
        if len(current.speeches) >= LONGEST:
            return True
        if sent.thread is not None or sent.at is None or current.last is None:
            return False
        same, other = self.limits(format, sent.chat)
        waiting = not current.answered or speaker != current.speeches[-1].speaker
        return sent.at - current.last > (other if waiting else same)

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
            ("type", "group" if chat.group or len(chat.people) > 2 else "direct"),
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
