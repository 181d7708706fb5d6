"""Chats in: one file per format, each with two functions, found here by their names.

``recognise(file)`` says why a file is of the format, or None. ``read(files, hints)`` yields what is
in the files of
the format, in their order: a `Sent` for each message, a `Presence` where somebody came or went, a
`Dialogue` where the format has dialogues already, `Skipped` for a line that nobody said,
`Malformed` for a record that cannot be used. Nothing is passed over in silence.
"""

from __future__ import annotations

import json
import pkgutil
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cache
from html import unescape
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, cast

from vvae.core.dialogue import Dialogue, Message, Turn
from vvae.core.errors import DataError, choose_from
from vvae.corpus.formats.files import File, files_of
from vvae.corpus.formats.others import app_of

__all__ = [
    "HAVE_DIALOGUES",
    "TELEGRAM_TITLE",
    "Dates",
    "Hints",
    "Imported",
    "Malformed",
    "Person",
    "Presence",
    "RecognisedFile",
    "Record",
    "Sent",
    "Skipped",
    "Speech",
    "bursts",
    "find",
    "formats",
    "load",
    "look",
    "some_chat",
]

Dates = Literal["auto", "day-first", "month-first"]


class Person(NamedTuple):
    """A person as the export knows them: an id that stays, and the name shown."""

    id: str
    name: str


class Sent(NamedTuple):
    """A message of a chat, before turns and conversations are made. `reactions` say who by person
    id.
    """

    chat: str
    person: Person
    message: Message
    at: float | None
    """Seconds on a clock of the chat's own, for the silence between messages; None where no time is
    known.
    """
    group: bool = False
    thread: str | None = None
    """A conversation within the chat that is not cut by silence."""
    bot: bool = False
    forwarded: bool = False
    shown: str = ""
    """What the export shows in place of the message's text, where they differ."""
    doubt: bool = False
    """Whether it may be the app's own words, though taken for speech, or speech, though not."""


class Presence(NamedTuple):
    """A change of who is in a chat: people who joined it or left it, by id or by name."""

    chat: str
    people: tuple[str, ...]
    here: bool
    at: float | None = None
    """As of a message; None where it stands behind the message before it."""


class Skipped(NamedTuple):
    """A line that nobody said: the reason it is counted under, and the line."""

    reason: str
    shown: str = ""
    doubt: bool = False
    """Whether it may be a person's own words."""


class Malformed(NamedTuple):
    """A record that cannot be used: where it stands and the reason it is counted under."""

    where: str
    reason: str


Record = Sent | Presence | Dialogue | Skipped | Malformed


class Hints(NamedTuple):
    """A set of facts that the user states because the export does not say them."""

    dates: Dates = "auto"
    columns: tuple[tuple[str, str], ...] = ()
    """Of a table: what (speaker, text, time, chat, id, reply_to) and the column that holds it."""


class Format(Protocol):
    """A module of this package that reads a format."""

    def recognise(self, file: File) -> str | None:
        """Return why a file is of this format, or None if it is not."""
        ...

    def read(self, files: Sequence[File], hints: Hints) -> Iterator[Record]:
        """Yield what stands in files of this format."""
        ...


class RecognisedFile(NamedTuple):
    """A file, its format, and why; no format for a file that is no chat."""

    file: File
    format: str | None
    why: str


class Speech(NamedTuple):
    """A message and who sent it, before messages are gathered into turns."""

    speaker: str
    message: Message


class Imported(NamedTuple):
    """The dialogues of a source, and what was left out, by reason."""

    dialogues: Collection[Dialogue]
    malformed: Counter[str]


def bursts(speeches: Sequence[Speech]) -> tuple[Turn, ...]:
    """Return consecutive messages of one speaker as turns, numbered from 0."""
    groups = groupby(speeches, key=lambda s: s.speaker)
    return tuple(
        Turn(i, speaker, tuple(s.message for s in g)) for i, (speaker, g) in enumerate(groups)
    )


@cache
def formats() -> dict[str, Format]:
    """Return the module of every format by its name: the modules of this package that have
    `recognise`.
    """
    modules = [
        (m.name, import_module(f"{__name__}.{m.name}")) for m in pkgutil.iter_modules(__path__)
    ]
    return {name: cast(Format, module) for name, module in modules if hasattr(module, "recognise")}


def find(path: Path, format: str = "auto") -> list[RecognisedFile]:
    """Return the files of an export and the format of each, told from their content.

    Raises:
        DataError: there is no such path or format, no file is a chat, or two formats claim one.
    """
    files = look(path, format)
    some_chat(path, files)
    return files


def look(path: Path, format: str = "auto") -> list[RecognisedFile]:
    """Return the files of a path and the format of each, whether any is a chat or not.

    Raises:
        DataError: there is no such path or format, or two formats claim a file.
    """
    modules = formats()
    if format != "auto" and format not in modules:
        fix = choose_from(format, modules)
        raise DataError(f"unknown format {format!r}", where="--format", fix=fix)
    files = files_of(path)
    if not files:
        raise DataError("no files", where=str(path), fix="give the export as the app wrote it")
    if format != "auto":
        return [RecognisedFile(file, format, "asked for") for file in files]
    return _once([_recognised(file, modules) for file in files])


def _once(files: Sequence[RecognisedFile]) -> list[RecognisedFile]:
    """The same files without the pages of a chat of Telegram that is there as JSON, too: the app
    writes both where it is asked to, beside each other, those of a whole account in a folder.
    """
    whole = [file.file for file in files if file.format == "telegram"]

    def is_there(page: File) -> bool:
        folder, title = Path(page.name).parent, TELEGRAM_TITLE.search(page.head)
        for file in whole:
            beside = Path(file.name).parent
            if '"chats"' in file.head and (beside == folder or beside in folder.parents):
                return True
            name = TELEGRAM_NAME.search(file.head)
            if beside == folder and title and name:
                return bool(unescape(title[1]) == json.loads(f'"{name[1]}"', strict=False))
        return False

    return [
        file._replace(format=None, why="the same chat as in result.json")
        if file.format == "telegram_html" and is_there(file.file)
        else file
        for file in files
    ]


TELEGRAM_NAME = re.compile(r'"name":\s*"((?:[^"\\]|\\.)*)"')
TELEGRAM_TITLE = re.compile(r'<div class="text bold">\s*([^<]+?)\s*</div>')
"""What a chat is called, in result.json and on its pages."""


def some_chat(path: Path, files: Sequence[RecognisedFile]) -> None:
    """Check that a path has a file that is read.

    Raises:
        DataError: it has none; says what it is, and what to do.
    """
    if any(entry.format for entry in files):
        return
    for entry in files:
        if (app := app_of(entry.file)) is not None:
            raise DataError(f"this is {app.what}", where=entry.file.where, fix=app.fix)
    if all(entry.file.size == 0 for entry in files):
        raise DataError("the file is empty", where=str(path), fix="export the chat again")
    fix = "export the chat as docs/chats.md says, or give a table (CSV) with --columns"
    raise DataError("no chat in a format that is known", where=str(path), fix=fix)


def _recognised(file: File, modules: dict[str, Format]) -> RecognisedFile:
    if file.size == 0:
        return RecognisedFile(file, None, "empty")
    claims = [(name, why) for name, module in modules.items() if (why := module.recognise(file))]
    if len(claims) > 1:
        names = " or ".join(name for name, _ in claims)
        raise DataError(f"this may be {names}", where=file.where, fix="say which with --format")
    if claims:
        return RecognisedFile(file, *claims[0])
    app = app_of(file)
    return RecognisedFile(file, None, app.what if app else "of no known format")


def read(
    recognised_files: Sequence[RecognisedFile],
    hints: Hints = Hints(),  # noqa: B008 -- immutable
) -> Iterator[tuple[str, Record]]:
    """Yield everything in recognised files as (format, record), format by format."""
    for name, module in formats().items():
        files = [entry.file for entry in recognised_files if entry.format == name]
        if files:
            yield from ((name, record) for record in module.read(files, hints))


Reader = Callable[[Path], Iterator[Dialogue | Malformed]]


def load(source: str, *, format: str = "auto", malformed_limit: float = 0.01) -> Imported:
    """Return all dialogues of a source that has dialogues already.

    Args:
        source: ``byu`` for the BYU chit-chat corpus of the installed package, else a JSONL file.
        format: ``auto``, ``openai`` or ``sharegpt``.
        malformed_limit: largest share of malformed records that is let pass.

    Raises:
        DataError: the source cannot be read, is empty, or has too many malformed records.
    """
    if (format == "byu") != (source == "byu") and format != "auto":
        fix = "path: byu goes with format: auto, and format: byu with no other path"
        raise DataError(
            f"path {source!r} and format {format!r} contradict each other", where="data", fix=fix
        )
    dialogues: list[Dialogue] = []
    malformed: Counter[str] = Counter()
    first: Malformed | None = None
    ids: set[str] = set()
    for record in _dialogues(source, format):
        if isinstance(record, Dialogue) and record.id in ids:
            record = Malformed(f"dialogue {record.id}", "dialogue id stands twice")
        if isinstance(record, Malformed):
            first = first or record
            malformed[record.reason] += 1
        elif isinstance(record, Dialogue):
            ids.add(record.id)
            dialogues.append(record)
    if first and malformed.total() > malformed_limit * (malformed.total() + len(dialogues)):
        raise DataError(
            f"{malformed.total()} of {malformed.total() + len(dialogues)} records are malformed; "
            f"first: {first.reason}",
            where=first.where,
            fix="mend them, or raise data.malformed_limit",
        )
    if not dialogues:
        raise DataError("no dialogues", where=source, fix="give JSONL with a dialogue on each line")
    return Imported(dialogues, malformed)


def _dialogues(source: str, format: str) -> Iterator[Record]:
    if source == "byu":
        from vvae.corpus.formats import byu

        yield from byu.read_corpus()
        return
    path = Path(source)
    if not path.is_file():
        raise DataError(
            "no such file",
            where=source,
            fix="give a file or folder that is there (data.path, in a config)",
        )
    file = files_of(path)[0]
    if not file.head.strip():
        raise DataError(
            "the file is empty", where=source, fix="give JSONL with a dialogue on each line"
        )
    name = _recognised(file, formats()).format if format == "auto" else format
    if name not in HAVE_DIALOGUES:
        what = (
            f"an export of {name}"
            if name
            else "neither 'messages' (OpenAI) nor 'conversations' (ShareGPT)"
        )
        raise DataError(
            what,
            where=f"{path}:1",
            fix=f"bring it in with 'vvae import {path} -o chats', use chats",
        )
    yield from formats()[name].read([file], Hints())


HAVE_DIALOGUES = ("openai", "sharegpt")
"""Formats a run reads as they are: a dialogue on each line."""
