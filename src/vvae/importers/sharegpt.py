"""JSONL of ShareGPT records: ``{"conversations": [{"from", "value"}]}``. `from` says who speaks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vvae.dialogue import Dialogue
from vvae.importers import Malformed, Said
from vvae.importers.jsonl import read_lines, said

__all__ = ["read"]


def read(path: Path) -> Iterator[Dialogue | Malformed]:
    """Dialogues of a file, a record a line."""
    return read_lines(path, _parse)


def _parse(record: dict[str, Any]) -> list[Said] | str:
    turns = record.get("conversations")
    if not isinstance(turns, list):
        return "no list 'conversations'"
    result: list[Said] = []
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
