"""ShareGPT records: ``{"conversations": [{"from", "value"}]}``, a line each or in a list. `from`
says who speaks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from vvae.corpus.formats import Hints, Record, Speech
from vvae.corpus.formats.files import File
from vvae.corpus.formats.jsonl import read_records, said

__all__ = ["read", "recognise"]


def recognise(file: File) -> str | None:
    """Records with a list of conversations."""
    found = {"conversations", "from"} <= file.keys
    return "records with 'conversations' that have a 'from'" if found else None


def read(files: Sequence[File], hints: Hints) -> Iterator[Record]:
    """Dialogues, a record each."""
    return read_records(files, _parse)


def _parse(record: dict[str, Any]) -> list[Speech] | str:
    turns = record.get("conversations")
    if not isinstance(turns, list):
        return "no list 'conversations'"
    result: list[Speech] = []
    for index, turn in enumerate(turns):
        if not isinstance(turn, dict):
            return "a message that is no object"
        if turn.get("from") in ("system", "tool", "observation"):
            continue
        one = said(turn.get("from"), turn.get("value"), index)
        if isinstance(one, str):
            return one
        result.append(one)
    return result
