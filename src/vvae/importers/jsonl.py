"""What the JSONL formats share: a record a line, each made into a dialogue or a named reason."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from vvae.dialogue import Dialogue, Message
from vvae.importers import Malformed, Said, bursts

__all__ = ["plain_text", "read_lines"]

Parse = Callable[[dict[str, Any]], list[Said] | str]
"""A record -> what was said in order, or the reason why it cannot be used."""


def read_lines(path: Path, parse: Parse) -> Iterator[Dialogue | Malformed]:
    """Dialogues of a JSONL file. The id is the record's `id`, else the file's stem and line number.

    Speakers without a name are called by their role, so `user` is taken for one person throughout the file.
    """
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            where = f"{path}:{number}"
            try:
                record = json.loads(line.decode("utf-8-sig"))
            except (ValueError, RecursionError):
                yield Malformed(where, "not JSON in UTF-8")
                continue
            if not isinstance(record, dict):
                yield Malformed(where, "not a JSON object")
                continue
            said = parse(record)
            if isinstance(said, str):
                yield Malformed(where, said)
                continue
            turns = bursts([s for s in said if s.message.text.strip()])
            if len({turn.speaker for turn in turns}) < 2:
                yield Malformed(where, "a dialogue with one speaker" if turns else "a dialogue without text")
                continue
            name = record.get("id")
            yield Dialogue(_storable(str(name)) if isinstance(name, str | int) else f"{path.stem}:{number}", turns)


def plain_text(content: object) -> str | None:
    """A message's text: a string, or the text parts of a list of parts joined; None if it is neither."""
    if isinstance(content, str):
        return _storable(content)
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        return _storable("".join(str(part.get("text", "")) for part in content if part.get("type", "text") == "text"))
    return None


def _storable(text: str) -> str:
    """Lone surrogates, which JSON can escape and UTF-8 cannot hold, as the replacement character."""
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace").replace("\x00", "")


def said(speaker: object, content: object, index: int) -> Said | str:
    """A message of a JSONL record, or the reason it is malformed."""
    text = plain_text(content)
    if text is None:
        return "a message without text"
    if not isinstance(speaker, str) or not speaker.strip():
        return "a message without speaker"
    return Said(_storable(speaker), Message(text, id=str(index)))
