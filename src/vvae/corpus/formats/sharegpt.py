"""ShareGPT records: ``{"conversations": [{"from", "value"}]}``, a line each or in a list. `from`
says who speaks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from vvae.corpus.formats import Hints, Record, Speech
from vvae.corpus.formats.files import File
from vvae.corpus.formats.jsonl import read_records, speech_of

__all__ = ["read", "recognise"]


def recognise(file: File) -> str | None:
    """Return why a file is of this format: records with a list of conversations."""
    is_match = {"conversations", "from"} <= file.keys
    return "records with 'conversations' that have a 'from'" if is_match else None


def read(files: Sequence[File], hints: Hints) -> Iterator[Record]:
    """Yield the dialogues, one for each record."""
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
        speech = speech_of(turn.get("from"), turn.get("value"), index)
        if isinstance(speech, str):
            return speech
        result.append(speech)
    return result
