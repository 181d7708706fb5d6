"""OpenAI chat records: ``{"messages": [{"role", "content", "name"?}]}``, a line each or in a list;
or each record just such a list; or a `prompt` and a `completion`, as TRL takes them.

`name` says who speaks, else the role does. System, developer and tool messages are instructions and
no part of the talk.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from vvae.corpus.formats import Hints, Record
from vvae.corpus.formats.files import File
from vvae.corpus.formats.jsonl import read_records

__all__ = ["read", "recognise"]

LIST = re.compile(r'\s*\[\s*(?:\[\s*)?\{\s*"(?:role|content|name)"\s*:')


def recognise(file: File) -> str | None:
    """Return why a file is of this format: records with a list of messages that have roles."""
    if {"messages", "role", "content"} <= file.keys:
        others = {"chatlab", "guild", "mapping", "currentId", "conversations"} & file.keys
        return None if others else "records with 'messages' that have a 'role'"
    if {"prompt", "completion"} <= file.keys:
        return "records with 'prompt' and 'completion'"
    is_list = {"role", "content"} <= file.keys and LIST.match(file.head) is not None
    return "lists of messages that have a 'role'" if is_list else None


def read(files: Sequence[File], hints: Hints) -> Iterator[Record]:
    """Yield the dialogues, one for each record."""
    return read_records(files, _parse)


def _parse(record: Any) -> list[Any] | str:
    messages = record.get("messages") if isinstance(record, dict) else record
    if isinstance(record, dict) and messages is None and "prompt" in record:
        sides = (("user", record["prompt"]), ("assistant", record.get("completion")))
        messages = [
            message
            for role, side in sides
            for message in (side if isinstance(side, list) else [{"role": role, "content": side}])
        ]
    return messages if isinstance(messages, list) else "no list 'messages'"
