"""Texts in which a line begins a message and further lines go on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from vvae.corpus.formats import Malformed
from vvae.corpus.formats.files import File

__all__ = ["Block", "blocks_of"]


class Block(NamedTuple):
    """The line that begins a message, and the lines that go on."""

    header: re.Match[str]
    more: list[str]


def blocks_of(
    file: File, begins: Callable[[str, bool], re.Match[str] | None]
) -> Iterator[Block | Malformed]:
    """Yield the messages of a file, and its lines before the first one.

    Args:
        begins: (line, whether the line before it is empty) -> the parts of a line that begins a
            message, None for one that goes on.
    """
    block: Block | None = None
    blank = True
    for number, line in file.lines():
        if (header := begins(line, blank)) is not None:
            if block:
                yield block
            block = Block(header, [])
        elif block:
            block.more.append(line)
        elif line.strip():
            yield Malformed(f"{file.where}:{number}", "a line before the first message")
        blank = not line.strip()
    if block:
        yield block
