"""Text chunks of PNG images, in which character cards travel (PNG 1.2, 11.3.4.3); pixels are not
touched.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from vvae.core.errors import DataError
from vvae.core.random import index_below

__all__ = ["plain_image", "texts_of", "with_texts"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
SIZE = (400, 600)
"""Pixels of an avatar."""


class Chunk(NamedTuple):
    """A chunk, with all its bytes."""

    kind: bytes
    body: bytes
    raw: bytes


def _chunks(image: bytes, where: str) -> Iterator[Chunk]:
    if not image.startswith(SIGNATURE):
        raise DataError("no PNG image", where=where, fix="give a PNG file")
    at = len(SIGNATURE)
    while at < len(image):
        if at + 12 > len(image):
            raise DataError("the image ends too early", where=where, fix="save it again")
        length, kind = struct.unpack(">I4s", image[at : at + 8])
        end = at + 12 + length
        if end > len(image):
            raise DataError("the image ends too early", where=where, fix="save it again")
        body = image[at + 8 : end - 4]
        if struct.unpack(">I", image[end - 4 : end])[0] != zlib.crc32(kind + body):
            raise DataError(
                "the image is damaged (a checksum is wrong)", where=where, fix="save it again"
            )
        yield Chunk(kind, body, image[at:end])
        if kind == b"IEND":
            return
        at = end


def _chunk_bytes(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def texts_of(image: bytes, *, where: str = "image") -> dict[str, bytes]:
    """Return keyword -> text of its first ``tEXt`` chunk.

    Raises:
        DataError: it is no PNG, or a damaged one.
    """
    texts: dict[str, bytes] = {}
    for chunk in _chunks(image, where):
        if chunk.kind == b"tEXt":
            keyword, _, text = chunk.body.partition(b"\0")
            texts.setdefault(keyword.decode("latin-1"), text)
    return texts


def with_texts(image: bytes, texts: Mapping[str, bytes], *, where: str = "image") -> bytes:
    """Return the image with these texts in place of any it had under their keywords; all other
    chunks stay as they are.

    Raises:
        DataError: it is no PNG, or a damaged one.
    """
    parts = [SIGNATURE]
    for chunk in _chunks(image, where):
        keyword = chunk.body.partition(b"\0")[0].decode("latin-1")
        if chunk.kind == b"IEND":
            parts += [
                _chunk_bytes(b"tEXt", key.encode("latin-1") + b"\0" + text)
                for key, text in texts.items()
            ]
        if chunk.kind != b"tEXt" or keyword not in texts:
            parts.append(chunk.raw)
    return b"".join(parts)


def plain_image(name: str) -> bytes:
    """Return an avatar of one colour, which is the name's."""
    colour = bytes(80 + index_below(120, "avatar", name, channel) for channel in range(3))
    width, height = SIZE
    rows = (b"\0" + colour * width) * height
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        SIGNATURE
        + _chunk_bytes(b"IHDR", header)
        + _chunk_bytes(b"IDAT", zlib.compress(rows, 9))
        + _chunk_bytes(b"IEND", b"")
    )
