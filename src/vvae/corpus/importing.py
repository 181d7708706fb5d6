"""An export, brought in: recognised, cleaned, made private, cut into dialogues, and every message
accounted for.

The folder written holds ``dialogues.parquet`` and ``import.json`` (what was kept, what was left out
and why, what was masked). Real names stand in one file beside it, which its owner alone can read.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vvae.core.dialogue import Dialogue
from vvae.core.errors import ConfigError, DataError, choose_from
from vvae.core.files import write_json
from vvae.core.reporting import Progress
from vvae.core.yaml import read_yaml
from vvae.corpus.cleaning import STEPS, Cleaning, language_of
from vvae.corpus.conversations import SYMBOLS, Builder, Identities, Survey
from vvae.corpus.forgotten import Forgotten
from vvae.corpus.formats import (
    Hints,
    Malformed,
    Presence,
    RecognisedFile,
    Record,
    Sent,
    Skipped,
    find,
    read,
)
from vvae.corpus.ordering import in_order
from vvae.corpus.privacy.names import Pseudonyms, name_replacer
from vvae.corpus.privacy.patterns import masked
from vvae.corpus.tables import write_dialogues

__all__ = [
    "DIALOGUES",
    "SUMMARY",
    "Intake",
    "bring_in",
    "dialogues_of_import",
    "import_chats",
    "mapping_path",
    "read_aliases",
    "read_columns",
    "speakers_to_learn",
    "survey",
]

DIALOGUES, SUMMARY = "dialogues.parquet", "import.json"
EACH = 2000
"""Messages between two signs of progress."""


@dataclass(frozen=True)
class Intake:
    """A set of options that say how an export is brought in."""

    hints: Hints = field(default_factory=Hints)
    aliases: Mapping[str, list[str]] = field(default_factory=dict)
    learn: tuple[str, ...] = ()
    """Whom to learn: their names stay, all others get pseudonyms."""
    keep: tuple[str, ...] = ()
    """Steps of cleaning that are off."""
    languages: tuple[str, ...] = ()
    """Only dialogues in these; all where empty."""
    gap: float | None = None
    """Minutes of silence that end a conversation; by each chat's own silences where None."""
    private: bool = True
    """Names and numbers replaced."""
    malformed_limit: float = 0.01
    finder: Callable[[str], tuple[str, Counter[str]]] | None = None
    """A further search for personal items in a text, such as Presidio's."""

    def __post_init__(self) -> None:
        """Check the names of the steps."""
        if unknown := sorted(set(self.keep) - set(STEPS)):
            fix = choose_from(unknown[0], STEPS)
            raise ConfigError(f"no step {unknown[0]!r}", where="--keep", fix=fix)

    def choosing(self, answer: str, counted: Survey) -> Intake:
        """Return these options with the people of an answer (numbers of the list of speakers, or
        names) to be learnt.
        """
        listed = [name for name, _ in counted.messages.most_common()]
        choices = [part.strip() for part in answer.split(",") if part.strip()]
        names = (
            listed[int(c) - 1] if c.isdecimal() and 0 < int(c) <= len(listed) else c
            for c in choices
        )
        return replace(self, learn=tuple(names))


def mapping_path(folder: Path) -> Path:
    """Return the path of the file of real names: beside the chats, so that the folder can be handed
    on without it.
    """
    return folder.with_name(f"{folder.name}.names.json")


def read_aliases(path: Path) -> dict[str, list[str]]:
    """Return an alias file's names, each with the ids or names under which the person also writes.

    Raises:
        ConfigError: it is no such file, or says of one alias that it is two people's.
    """
    fix = "write NAME: [other name, another] on each line"
    data = read_yaml(path, fix)
    if not isinstance(data, dict) or not all(isinstance(v, list) for v in data.values()):
        raise ConfigError("not names and lists", where=str(path), fix=fix)
    aliases = {str(name): [str(alias) for alias in forms] for name, forms in data.items()}
    owners: dict[str, str] = {}
    for name, forms in aliases.items():
        for alias in forms:
            if owners.setdefault(alias, name) != name:
                raise ConfigError(
                    f"{alias!r} is two people's", where=str(path), fix="let it stand in one list"
                )
    return aliases


def read_columns(text: str) -> tuple[tuple[str, str], ...]:
    """Return the pairs of a text such as ``speaker=author,text=body``.

    Raises:
        ConfigError: it is nothing of the kind.
    """
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    roles = ("speaker", "text", "time", "chat", "id", "reply_to")
    if any(not separator or what.strip() not in roles for what, separator, _ in pairs):
        fix = f"write WHAT=COLUMN with WHAT from {', '.join(roles)}"
        raise ConfigError(f"{text!r} maps no columns", where="--columns", fix=fix)
    return tuple((what.strip(), column.strip()) for what, _, column in pairs)


def import_chats(
    path: str | Path, out: str | Path, *, learn: Sequence[str] = (), real_names: bool = False
) -> dict[str, Any]:
    """Write an app's export as dialogues, other people's names and numbers taken out.

    Args:
        path: the export, as the app wrote it: a file, a folder or a zip.
        out: the folder to write.
        learn: whom a model shall learn; all others get pseudonyms.
        real_names: change no names and no numbers.

    Returns:
        What became of every message, as in the folder's import.json.

    Raises:
        DataError: a file cannot be read, too much of it is malformed, or nothing is left.
        ConfigError: somebody to be learned does not write here.

    Example:
        >>> import_chats("WhatsApp Chat with Ben.txt", "chats", learn=["Ana"])  # doctest: +SKIP
    """
    options = Intake(learn=tuple(learn), private=not real_names)
    return bring_in(find(Path(path)), Path(out), options)


def speakers_to_learn(folder: Path) -> tuple[str, ...] | None:
    """Return whom the import of a folder was told to learn; None for everybody."""
    names = _earlier(folder).get("learn")
    return tuple(names) if names else None


def dialogues_of_import(folder: Path) -> int | None:
    """Return how many dialogues the import of a folder made; None where there was none."""
    number = _earlier(folder).get("dialogues")
    return number if isinstance(number, int) else None


def _earlier(folder: Path) -> dict[str, Any]:
    """The summary of a folder's import; empty where there is none."""
    try:
        summary = json.loads((folder / SUMMARY).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return summary if isinstance(summary, dict) else {}


def survey(
    files: Sequence[RecognisedFile], options: Intake, tick: Progress = lambda *_: None
) -> Survey:
    """Return what the first pass over an export counts: people, chats, silences.

    Raises:
        DataError: a file cannot be read.
    """
    counted = Survey(Identities(options.aliases))
    for format, record in _watched(files, options.hints, tick):
        if isinstance(record, Sent):
            counted.sent(format, record)
        elif isinstance(record, Dialogue):
            counted.dialogue(record)
    return counted


def bring_in(
    files: Sequence[RecognisedFile],
    folder: Path,
    options: Intake,
    *,
    counted: Survey | None = None,
    tick: Progress = lambda *_: None,
) -> dict[str, Any]:
    """Write the dialogues of an export and what became of every message; return the latter.

    Raises:
        DataError: a file cannot be read, too much of it is malformed, or nothing is left.
        ConfigError: somebody to be learnt does not write here.
    """
    counted = counted or survey(files, options)
    _check_learn(options.learn, counted)
    path, forgotten = mapping_path(folder), Forgotten(folder)
    mapping = Pseudonyms.read(path) if options.private and path.exists() else None
    people = _People(counted, options, mapping, forgotten)
    work = _Work(counted, people, options)
    folder.mkdir(0o700, parents=True, exist_ok=True)
    stream = in_order(_watched(files, options.hints, tick), counted.disordered())
    write_dialogues(folder / DIALOGUES, work.dialogues(stream))
    summary = work.summary(files)
    if options.private:
        people.pseudonyms.save(mapping_path(folder), without=forgotten)
    write_json(folder / SUMMARY, summary)
    return summary


def _watched(
    files: Sequence[RecognisedFile], hints: Hints, tick: Progress
) -> Iterator[tuple[str, Record]]:
    for number, record in enumerate(read(files, hints), start=1):
        if number % EACH == 0:
            tick(number, 0)
        yield record


def _check_learn(learn: Sequence[str], counted: Survey) -> None:
    for name in learn:
        if name not in counted.messages:
            names = [known for known, _ in counted.messages.most_common()]
            fix = f"{choose_from(name, names, shown=5)} (--who lists them)"
            raise ConfigError(f"{name!r} does not write here", where="--learn", fix=fix)


class _People:
    """What people are called in the dialogues, and in the texts of others."""

    def __init__(
        self,
        counted: Survey,
        options: Intake,
        mapping: Mapping[str, str] | None,
        forgotten: Forgotten,
    ) -> None:
        self._mapping, self._forgotten = mapping, forgotten
        kept = set(options.learn) | SYMBOLS
        self._private, self._kept = options.private, kept
        called = counted.identities.called
        everybody = {form for forms in called.values() for form in forms}
        self.pseudonyms = Pseudonyms(mapping, everybody, never=() if mapping is None else forgotten)
        if options.private:
            for name, _ in counted.messages.most_common():
                self.of(name)
            for name in sorted(counted.identities.names):
                self.of(name)
        forms = {
            form: self.of(name)
            for name in called
            if name not in kept
            for form in sorted(called[name] | {name})
        }
        own = {form for name in options.learn for form in called[name]}
        self.in_text = name_replacer(forms if options.private else {}, own | SYMBOLS)

    def of(self, name: str) -> str:
        """What somebody is called in the dialogues."""
        return name if not self._private or name in self._kept else self.pseudonyms.of(name)

    def is_forgotten(self, name: str) -> bool:
        """Whether somebody shall not come in again: by name, or by the pseudonym that they had.
        Without a mapping that is the one that they get, as names are given in the same order.
        """
        called = self.of(name) if self._mapping is None else self._mapping.get(name, "")
        return name in self._forgotten or called in self._forgotten


class _Work:
    """The second pass, with its accounts."""

    def __init__(self, counted: Survey, people: _People, options: Intake) -> None:
        self._counted, self._people, self._options = counted, people, options
        self._forgotten = set(filter(people.is_forgotten, counted.identities.names))
        self._builder = Builder(
            counted, people.of, None if options.gap is None else options.gap * 60
        )
        self._cleaning = Cleaning(options.keep)
        self.left_out: Counter[str] = Counter()
        self.malformed: Counter[str] = Counter()
        self._first: Malformed | None = None
        self.replaced: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.speakers: dict[str, Counter[str]] = {}
        self.dialogues_by_chat: Counter[str] = Counter()
        self.languages: Counter[str] = Counter()
        self._seen = self._kept = self._written = self._numbered = self._doubtful = 0

    def dialogues(self, stream: Iterator[tuple[str, Record]]) -> Iterator[Dialogue]:
        """The dialogues that stay."""
        for format, record in stream:
            yield from filter(None, map(self._counted_in, self._take(format, record)))
        yield from filter(None, map(self._counted_in, self._builder.finish()))
        self.left_out += self._builder.closed
        self._check()

    def _take(self, format: str, record: Record) -> Iterator[Dialogue]:
        if isinstance(record, Sent):
            self._seen += 1
            self._doubtful += record.doubt
            forgotten = (
                self._forgotten
                and self._counted.identities.meet(format, record.person) in self._forgotten
            )
            if reason := "forgotten" if forgotten else self._cleaning.reason(record):
                self.left_out[reason] += 1
                return
            text = self._clean(record.message.text)
            if text != record.message.text:
                record = record._replace(message=replace(record.message, text=text))
            yield from self._builder.add(format, record)
        elif isinstance(record, Presence):
            self._builder.presence(format, record)
        elif isinstance(record, Dialogue):
            self._seen += sum(len(turn.messages) for turn in record.turns)
            self._numbered += 1
            record = self._without_forgotten(record)
            if len(record.speakers) < 2:
                return
            yield self._builder.rebuilt(self._numbered, format, self._cleaned(record))
        elif isinstance(record, Skipped):
            self._seen += 1
            self._doubtful += record.doubt
            self.left_out[record.reason] += 1
        else:
            self._seen += 1
            self._first = self._first or record
            self.malformed[record.reason] += 1

    def _without_forgotten(self, dialogue: Dialogue) -> Dialogue:
        """A ready-made dialogue without those who were taken out; with fewer than two left, none of
        it stays.
        """
        turns = tuple(turn for turn in dialogue.turns if turn.speaker not in self._forgotten)
        if len(turns) < len(dialogue.turns):
            remaining = {turn.speaker for turn in turns}
            removed = (
                dialogue.turns
                if len(remaining) < 2
                else [t for t in dialogue.turns if t.speaker in self._forgotten]
            )
            self.left_out["forgotten"] += sum(len(turn.messages) for turn in removed)
        return replace(dialogue, turns=turns)

    def _cleaned(self, dialogue: Dialogue) -> Dialogue:
        turns = tuple(
            replace(
                turn, messages=tuple(replace(m, text=self._clean(m.text)) for m in turn.messages)
            )
            for turn in dialogue.turns
        )
        return replace(dialogue, turns=turns)

    def _clean(self, text: str) -> str:
        """A text without other people's names and anybody's numbers."""
        if not self._options.private or not text:
            return text
        text, kinds = masked(text)
        if self._options.finder:
            text, more = self._options.finder(text)
            kinds = kinds + more
        text, names = self._people.in_text(text)
        if kinds:
            self.replaced.update(kinds)
        if names:
            self.replaced["name"] += names
        return text

    def _counted_in(self, dialogue: Dialogue) -> Dialogue | None:
        """Counts a dialogue, unless its language is not asked for."""
        messages = sum(len(turn.messages) for turn in dialogue.turns)
        if self._options.languages:
            language = language_of(dialogue) or "unknown"
            if language not in self._options.languages:
                self.left_out[f"language: {language}"] += messages
                return None
        self._written += 1
        self._kept += messages
        self.dialogues_by_chat[dialogue.get("chat") or dialogue.get("platform") or ""] += 1
        for turn in dialogue.turns:
            counts = self.speakers.setdefault(turn.speaker, Counter())
            counts["turns"] += 1
            counts["messages"] += len(turn.messages)
            self.kinds.update(message.kind or "text" for message in turn.messages)
        return dialogue

    def _check(self) -> None:
        bad = self.malformed.total()
        if self._first and bad > self._options.malformed_limit * self._seen:
            fix = "export again, or raise --malformed-limit"
            if self._first.reason == "not UTF-8":
                fix = "save the file as UTF-8"
            elif 2 * bad > self._seen:
                fix = "export again, or look with --explain what it was taken for"
            raise DataError(
                f"{bad:,} of {self._seen:,} messages are malformed; first: {self._first.reason}",
                where=self._first.where,
                fix=fix,
            )
        if not self._written:
            reasons = ", ".join(
                f"{n:,} {reason}" for reason, n in (self.left_out + self.malformed).most_common()
            )
            raise DataError(
                f"no conversation of two people is left ({reasons or 'no messages'})",
                fix="try --explain",
            )

    def summary(self, files: Sequence[RecognisedFile]) -> dict[str, Any]:
        """What became of every message; no real name stands in it but of those who are learnt."""
        limits = {
            c.label: self._builder.limits(f, name) for (f, name), c in self._counted.chats.items()
        }
        return {
            "files": dict(Counter(file.format or file.why for file in files)),
            "messages": self._seen,
            "kept": self._kept,
            "left_out": dict(self.left_out.most_common()),
            "malformed": dict(self.malformed.most_common()),
            "may_be_either": self._doubtful,
            "out_of_order": self._counted.out_of_order(),
            "newest_first": sum(self._counted.disordered().values()),
            "unanswered_by_gap": {
                f"{seconds / 60:g}": n for seconds, n in self._counted.unanswered().items()
            },
            "dialogues": self._written,
            "kinds": dict(self.kinds.most_common()),
            "private": self._options.private,
            "replaced": dict(self.replaced.most_common()),
            "learn": list(self._options.learn),
            "speakers": {
                name: dict(counts)
                for name, counts in sorted(self.speakers.items(), key=lambda x: -x[1]["messages"])
            },
            "chats": {
                chat.label: {
                    "messages": chat.messages,
                    "dialogues": self.dialogues_by_chat[chat.label],
                    "people": len(chat.people),
                    "from": chat.first,
                    "to": chat.last,
                    "gap_minutes": round(limits[chat.label][0] / 60, 1),
                    "answer_minutes": round(limits[chat.label][1] / 60, 1),
                }
                for chat in self._counted.chats.values()
            },
        }
