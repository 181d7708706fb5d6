"""OpenAI chat records: ``{"messages": [{"role", "content", "name"?}]}``, a line each or in a list.

`name` says who speaks, else the role does. System, developer and tool messages are instructions and
no part of the talk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from vvae.corpus.formats import Hints, Record, Speech
from vvae.corpus.formats.files import File
from vvae.corpus.formats.jsonl import read_records, speech_of

__all__ = ["read", "recognise"]


def recognise(file: File) -> str | None:
    """Return why a file is of this format: records with a list of messages that have roles."""
    is_match = {"messages", "role"} <= file.keys and not {"chatlab", "guild"} & file.keys
    return "records with 'messages' that have a 'role'" if is_match else None


def read(files: Sequence[File], hints: Hints) -> Iterator[Record]:
    """Yield the dialogues, one for each record."""
    return read_records(files, _parse)


def _parse(record: dict[str, Any]) -> list[Speech] | str:
    messages = record.get("messages")
    if not isinstance(messages, list):
        return "no list 'messages'"
    result: list[Speech] = []
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            return "a message that is no object"
        role = message.get("role")
        if role in ("system", "developer", "tool", "function"):
            continue
        speech = speech_of(message.get("name") or role, message.get("content"), index)
        if isinstance(speech, str):
            return speech
        result.append(speech)
    return result
