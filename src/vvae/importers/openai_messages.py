"""JSONL of OpenAI chat records: ``{"messages": [{"role", "content", "name"?}]}``.

`name` says who speaks, else the role does. System, developer and tool messages are instructions and no part of
the talk.
"""

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
    messages = record.get("messages")
    if not isinstance(messages, list):
        return "no list 'messages'"
    result: list[Said] = []
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            return "a message that is no object"
        role = message.get("role")
        if role in ("system", "developer", "tool", "function"):
            continue
        one = said(message.get("name") or role, message.get("content"), index)
        if isinstance(one, str):
            return one
        result.append(one)
    return result
