"""Chats in: one file per format, each a function from a path to dialogues.

Malformed records are counted under a named reason; past a limit they stop the import. A reader yields a
`Dialogue`, or a `Malformed` saying where and why, and never skips in silence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from vvae.dialogue import Dialogue, Message, Turn
from vvae.errors import DataError

__all__ = ["Imported", "Malformed", "Said", "bursts", "detect", "load"]


class Malformed(NamedTuple):
    """A record that cannot be used: where it stands and the reason it is counted under."""

    where: str
    reason: str


class Said(NamedTuple):
    """One message and who sent it, before messages are gathered into turns."""

    speaker: str
    message: Message


class Imported(NamedTuple):
    """The dialogues of a source and what was left out, by reason."""

    dialogues: list[Dialogue]
    malformed: Counter[str]


Reader = Callable[[Path], Iterator[Dialogue | Malformed]]


def bursts(said: list[Said]) -> tuple[Turn, ...]:
    """Consecutive messages of one speaker as turns, numbered from 0."""
    groups = groupby(said, key=lambda s: s.speaker)
    return tuple(Turn(i, speaker, tuple(s.message for s in g)) for i, (speaker, g) in enumerate(groups))


def _readers() -> dict[str, Reader]:
    from vvae.importers import byu, openai_messages, sharegpt

    return {"byu": byu.read, "openai": openai_messages.read, "sharegpt": sharegpt.read}


def detect(path: Path) -> str:
    """The format of a JSONL file, from its first record.

    Raises:
        DataError: the file is missing, empty, or of no known format.
    """
    if not path.is_file():
        raise DataError("no such file", where=str(path), fix="check data.path in the config")
    with path.open(encoding="utf-8", errors="replace") as lines:
        first = next((line for line in lines if line.strip()), "")
    if not first:
        raise DataError("the file is empty", where=str(path), fix="give JSONL with a dialogue on each line")
    for key, name in (('"messages"', "openai"), ('"conversations"', "sharegpt")):
        if key in first:
            return name
    raise DataError(
        "neither 'messages' (OpenAI) nor 'conversations' (ShareGPT) in the first line",
        where=f"{path}:1",
        fix="give JSONL with a dialogue on each line, or name data.format",
    )


def load(source: str, *, format: str = "auto", malformed_limit: float = 0.01) -> Imported:
    """Reads all dialogues of a source.

    Args:
        source: ``byu`` for the BYU chit-chat corpus of the installed package, else a path.
        format: ``auto``, ``openai`` or ``sharegpt``.
        malformed_limit: largest share of malformed records that is let pass.

    Raises:
        DataError: the source cannot be read, is empty, or has too many malformed records.
    """
    readers = _readers()
    path = Path(source)
    name = format if format != "auto" else "byu" if source == "byu" else detect(path)
    if (name == "byu") != (source == "byu"):
        fix = "path: byu goes with format: auto, and format: byu with no other path"
        raise DataError(f"path {source!r} and format {format!r} contradict each other", where="data", fix=fix)
    if name not in readers:
        raise DataError(f"unknown format {name!r}", where="data.format", fix=f"choose one of {', '.join(readers)}")
    if name != "byu" and not path.is_file():
        raise DataError("no such file", where=source, fix="check data.path in the config")
    dialogues: list[Dialogue] = []
    malformed: Counter[str] = Counter()
    first: Malformed | None = None
    seen: set[str] = set()
    for record in readers[name](path):
        if isinstance(record, Dialogue) and record.id in seen:
            record = Malformed(f"dialogue {record.id}", "dialogue id stands twice")
        if isinstance(record, Malformed):
            first = first or record
            malformed[record.reason] += 1
            continue
        seen.add(record.id)
        dialogues.append(record)
    if first and malformed.total() > malformed_limit * (malformed.total() + len(dialogues)):
        raise DataError(
            f"{malformed.total()} of {malformed.total() + len(dialogues)} records are malformed; first: {first.reason}",
            where=first.where,
            fix="mend them, or raise data.malformed_limit",
        )
    if not dialogues:
        raise DataError("no dialogues", where=source, fix="give JSONL with a dialogue on each line")
    return Imported(dialogues, malformed)
