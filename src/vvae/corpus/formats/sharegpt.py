"""ShareGPT records: ``{"conversations": [{"from", "value"}]}``, a line each or in a list; or each
record just such a list. `from` says who speaks; some write `role` and `content` instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from vvae.corpus.formats import Hints, Record
from vvae.corpus.formats.files import File
from vvae.corpus.formats.jsonl import read_records

__all__ = ["read", "recognise"]

TURNS = re.compile(
    r'"conversations?"\s*:\s*\[\s*\{[^{}\[\]]{0,200}?"(?:from|value|role|content)"\s*:'
)
LIST = re.compile(r'\s*\[\s*(?:\[\s*)?\{\s*"(?:from|value)"\s*:')


def recognise(file: File) -> str | None:
    """Return why a file is of this format: records with a list of conversations."""
    if not ({"from", "value"} <= file.keys or {"role", "content"} <= file.keys):
        return None
    if TURNS.search(file.head) and not {"MessageList", "conversation_id"} & file.keys:
        return "records with 'conversations' of turns"
    return "lists of turns that have a 'from'" if LIST.match(file.head) else None


def read(files: Sequence[File], hints: Hints) -> Iterator[Record]:
    """Yield the dialogues, one for each record."""
    return read_records(files, _parse)


def _parse(record: Any) -> list[Any] | str:
    turns = record
    if isinstance(record, dict):
        turns = record.get("conversations", record.get("conversation"))
    return turns if isinstance(turns, list) else "no list 'conversations'"
