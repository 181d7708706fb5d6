"""What the formats of training data share: records of whole dialogues, a line each or in one JSON
list.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from vvae.core.dialogue import Dialogue, Message
from vvae.corpus.formats import Malformed, Record, Speech, bursts
from vvae.corpus.formats.files import LONGEST_RECORD, TORN, File
from vvae.corpus.formats.json_stream import parts, whole_escapes

__all__ = ["json_of", "plain_text", "read_records", "speech_of", "storable"]

Parse = Callable[[dict[str, Any]], list[Speech] | str]
"""A record -> what was said in order, or the reason why it cannot be used."""


def read_records(files: Sequence[File], parse: Parse) -> Iterator[Record]:
    """Yield the dialogues of files with a record a line, or with one list of records.

    A dialogue's id is the record's `id`, else the file's stem and its number. Speakers without a
    name are called by their role, so `user` is taken for one person throughout the file.
    """
    for file in files:
        for number, record in _records(file):
            where = f"{file.where}:{number}"
            if isinstance(record, str):
                yield Malformed(where, record)
                continue
            speeches = parse(record)
            if isinstance(speeches, str):
                yield Malformed(where, speeches)
                continue
            turns = bursts([s for s in speeches if s.message.text.strip()])
            if len({turn.speaker for turn in turns}) < 2:
                yield Malformed(
                    where, "a dialogue with one speaker" if turns else "a dialogue without text"
                )
                continue
            name = record.get("id")
            yield Dialogue(
                storable(str(name)) if isinstance(name, str | int) else f"{file.stem}:{number}",
                turns,
            )


def _records(file: File) -> Iterator[tuple[int, dict[str, Any] | str]]:
    if file.begins("["):
        for number, (_, value) in enumerate(parts(file, {"item"}), start=1):
            yield number, value if isinstance(value, dict) else "not a JSON object"
        return
    for number, line in file.lines(LONGEST_RECORD):
        if line.strip():
            yield number, json_of(line)


def json_of(line: str) -> dict[str, Any] | str:
    """Return the object of a line of JSONL, or why there is none."""
    try:
        record = json.loads(whole_escapes(line.encode("utf-8")))
    except (ValueError, RecursionError):
        return "not JSON in UTF-8"
    return record if isinstance(record, dict) else "not a JSON object"


def plain_text(content: object) -> str | None:
    """Return a message's text: a string, or the text parts of a list of parts joined.

    None if it is neither, or holds what no text can: NUL, or the lone surrogates that JSON can
    escape.
    """
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        content = "".join(
            str(part.get("text", "")) for part in content if part.get("type", "text") == "text"
        )
    if not isinstance(content, str) or TORN in content or storable(content) != content:
        return None
    return content


def storable(text: str) -> str:
    """Return a text that UTF-8 can hold: lone surrogates, which JSON can escape, become the
    replacement character, and NUL is dropped.
    """
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace").replace("\x00", "")


def speech_of(speaker: object, content: object, index: int) -> Speech | str:
    """Return a message of a record, or the reason it is malformed."""
    text = plain_text(content)
    if text is None:
        return "a message whose text cannot be read"
    if not isinstance(speaker, str) or not speaker.strip():
        return "a message without speaker"
    return Speech(storable(speaker), Message(text, id=str(index)))
