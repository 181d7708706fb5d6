"""Alpaca records: ``{"instruction", "input", "output", "history"?}``, a line each or in a list.

`history` holds the pairs of earlier turns. Whoever asks is `user`, whoever answers `assistant`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from vvae.corpus.formats import Hints, Record
from vvae.corpus.formats.files import File
from vvae.corpus.formats.jsonl import read_records

__all__ = ["read", "recognise"]


def recognise(file: File) -> str | None:
    """Return why a file is of this format: records with an instruction and an output."""
    is_match = {"instruction", "output"} <= file.keys
    return "records with 'instruction' and 'output'" if is_match else None


def read(files: Sequence[File], hints: Hints) -> Iterator[Record]:
    """Yield the dialogues, one for each record."""
    return read_records(files, _parse)


def _parse(record: Any) -> list[Any] | str:
    if not isinstance(record, dict):
        return "not a JSON object"
    asked = [record.get("instruction"), record.get("input")]
    last = "\n".join(part for part in asked if isinstance(part, str) and part)
    history = record.get("history") or []
    if not isinstance(history, list) or not all(
        isinstance(p, list) and len(p) == 2 for p in history
    ):
        return "a 'history' that is no list of pairs"
    pairs = [*history, [last, record.get("output")]]
    roles = ("user", "assistant")
    return [
        {"role": role, "content": text}
        for pair in pairs
        for role, text in zip(roles, pair, strict=True)
    ]
