"""What the formats of training data share: records of whole dialogues, a line each or in one JSON
list.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from vvae.core.dialogue import Dialogue, Message
from vvae.corpus.formats import Malformed, Record, Skipped, Speech, bursts
from vvae.corpus.formats.files import LONGEST_RECORD, TORN, File
from vvae.corpus.formats.json_stream import parts, whole_escapes

__all__ = ["json_of", "objects", "plain_text", "read_records", "storable"]

ROLES = {
    *("system", "developer", "tool", "tools", "function", "observation", "ipython"),
    *("function_call", "function-call", "function_response", "function-response"),
    *("tool_call", "tool_response"),
}
"""Roles of records that are no part of the talk: instructions, and what tools are told and say."""
NOT_SAID = "instructions and tools"
LISTS = re.compile(r"\s*\[\s*\{[^\n]*\}\s*\]\s*\n\s*\[")
"""The beginning of JSONL whose lines are lists."""

Parse = Callable[[Any], list[Any] | str]
"""A record -> its messages in order, or the reason why it cannot be used."""


def read_records(files: Sequence[File], parse: Parse) -> Iterator[Record]:
    """Yield the dialogues of files with a record a line, or with one list of records.

    A dialogue's id is the record's `id`, else the file's stem and its number. Speakers without a
    name are called by their role, so `user` is taken for one person throughout the file. A message
    is an object with `role` or `from` and `content` or `value`, and a `name` where people have one.
    """
    for file in files:
        for number, record in _records(file):
            where = f"{file.where}:{number}"
            messages = record if isinstance(record, str) else parse(record)
            if isinstance(messages, str):
                yield Malformed(where, messages)
                continue
            speeches = [_speech(message, index) for index, message in enumerate(messages)]
            wrong = next((speech for speech in speeches if isinstance(speech, str)), None)
            if wrong is not None:
                yield Malformed(where, wrong)
                continue
            yield from (speech for speech in speeches if isinstance(speech, Skipped))
            turns = bursts(
                [s for s in speeches if isinstance(s, Speech) and s.message.text.strip()]
            )
            if len({turn.speaker for turn in turns}) < 2:
                yield Malformed(
                    where, "a dialogue with one speaker" if turns else "a dialogue without text"
                )
                continue
            name = record.get("id") if isinstance(record, dict) else None
            yield Dialogue(
                storable(str(name)) if isinstance(name, str | int) else f"{file.stem}:{number}",
                turns,
            )


def _speech(message: object, index: int) -> Speech | Skipped | str:
    """A message of a record, why nobody said it, or why the record is malformed."""
    if not isinstance(message, dict):
        return "a message that is no object"
    role = message.get("role", message.get("from"))
    content = message.get("content", message.get("value"))
    if (isinstance(role, str) and role in ROLES) or (
        content is None and ("tool_calls" in message or "function_call" in message)
    ):
        return Skipped(NOT_SAID, content[:200] if isinstance(content, str) else "")
    text = plain_text(content)
    if text is None:
        return "a message whose text cannot be read"
    speaker = message.get("name") or role
    if not isinstance(speaker, str) or not speaker.strip():
        return "a message without speaker"
    return Speech(storable(speaker), Message(text, id=str(index)))


def _records(file: File) -> Iterator[tuple[int, Any]]:
    """The number and value of each record; a text says why there is none."""
    if file.begins("[") and not LISTS.match(file.head):
        number, loose = 0, []
        for number, (_, value) in enumerate(parts(file, {"item"}), start=1):
            if isinstance(value, dict) and {"role", "from"} & value.keys():
                loose.append(value)  # the list is itself a dialogue
            else:
                yield number, value if isinstance(value, dict | list) else "not a JSON object"
        if loose:
            yield number, loose
        return
    for number, line in file.lines(LONGEST_RECORD):
        if line.strip():
            value = json_value(line)
            turns = isinstance(value, list) and all(isinstance(one, dict) for one in value)
            yield number, value if turns or isinstance(value, dict | str) else "not a JSON object"


def json_value(line: str) -> Any:
    """Return the value of a line of JSONL, or, as a text, why there is none."""
    try:
        value = json.loads(whole_escapes(line.encode("utf-8")))
    except (ValueError, RecursionError):
        return "not JSON in UTF-8"
    return "not a JSON object" if isinstance(value, str) else value


def json_of(line: str) -> dict[str, Any] | str:
    """Return the object of a line of JSONL, or why there is none."""
    value = json_value(line)
    return value if isinstance(value, dict | str) else "not a JSON object"


def objects(value: object) -> list[dict[str, Any]]:
    """Return the objects of a JSON list, none where it is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


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
