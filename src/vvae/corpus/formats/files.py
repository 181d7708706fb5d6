"""The files of an export: one file, a folder or a zip of many, read as streams and within bounds.

Nothing is ever unpacked to disk. What could fill memory or disk (a line without end, an archive
that swells, a name that climbs out of its folder) is refused with one line.
"""

from __future__ import annotations

import codecs
import lzma
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from vvae.core.errors import DataError

__all__ = ["LONGEST_LINE", "LONGEST_RECORD", "TORN", "File", "Line", "files_of", "torn"]

LONGEST_LINE = 1 << 20
"""Bytes of a line of a line format; WhatsApp's longest message is 65,536 characters."""
LONGEST_RECORD = 16 << 20
"""Bytes of one JSON record: of a line of JSONL, of a message of a JSON export."""
TORN = "\ufdd0"
"""What stands for half a character in a text: a code point that no text may hold."""
MOST_FILES = 200_000
SWELLING = 200
"""An archive may grow to so many times its size; text grows to 5 to 20 times."""
BLOCK = 1 << 18
HEAD = 1 << 16


SURROGATES = re.compile("[\ud800-\udfff]")


def torn(text: str) -> bool:
    """Return whether a line's text holds bytes that were no UTF-8."""
    return not text.isascii() and SURROGATES.search(text) is not None


class Line(NamedTuple):
    """A line of text without its end, and its number from 1."""

    number: int
    text: str


@dataclass(frozen=True)
class File:
    """A file of an export. `name` is its path within the export, with forward slashes."""

    name: str
    where: str
    """What an error names it by."""
    size: int
    opener: Callable[[], IO[bytes]] = field(repr=False)
    path: Path | None = None
    """Where it lies on disk; None for a file in an archive."""

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Yield a stream of the bytes.

        Raises:
            DataError: the file cannot be read, or its archive is damaged.
        """
        try:
            with self._opened() as opened:
                yield opened
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, struct.error) as error:
            raise DataError(
                f"the archive is damaged ({error})", where=self.where, fix="export it again"
            ) from None
        except (NotImplementedError, RuntimeError) as error:  # an unknown compression, a password
            raise DataError(
                f"cannot be unpacked ({error})", where=self.where, fix="unpack it yourself"
            ) from None
        except OSError as error:
            raise DataError(
                f"cannot be read ({error.strerror})", where=self.where, fix="check the file"
            ) from None

    def _opened(self) -> IO[bytes]:
        try:
            return self.opener()
        except ValueError as error:  # an archive that names the entry otherwise where it stands
            raise zipfile.BadZipFile(str(error)) from None

    @cached_property
    def head(self) -> str:
        """Return the first 64 KB as text: what its format is told from."""
        with self.open() as opened:
            block = opened.read(HEAD)
        encoding = "utf-16" if block[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        return block.decode(encoding, "replace")

    @cached_property
    def keys(self) -> frozenset[str]:
        """Return the keys of JSON objects in the head, at any depth. A key within a text has its
        quotes escaped and is not among them.
        """
        return (
            frozenset(re.findall(r'"([^"\\\\]{1,40})"\s*:', self.head))
            if self.begins("{", "[", "#")
            else frozenset()
        )

    def begins(self, *signs: str) -> bool:
        """Return whether the first character that is no space is one of these."""
        return self.head.lstrip().startswith(signs)

    @property
    def stem(self) -> str:
        """Return the file's name without folder and extension."""
        return PurePosixPath(self.name).stem

    @property
    def chat(self) -> str:
        """Return the name within the export without extension: what tells a chat from another where
        a file is a chat, for many are called alike.
        """
        return str(PurePosixPath(self.name).with_suffix("")) if self.stem else self.name

    @property
    def folder(self) -> str:
        """Return the name of the folder it lies in, empty at the top."""
        return PurePosixPath(self.name).parent.name

    def read(self, limit: int = 4 * LONGEST_RECORD) -> bytes:
        """Return all bytes of a small file.

        Raises:
            DataError: it is larger than the limit.
        """
        if self.size > limit:
            raise DataError(
                f"larger than {limit >> 20} MB", where=self.where, fix="this file should be small"
            )
        with self.open() as opened:
            return opened.read()

    def lines(self, longest: int = LONGEST_LINE) -> Iterator[Line]:
        r"""Yield the lines, split at \n alone, in UTF-8 (or UTF-16 with a byte order mark).

        Bytes that are no UTF-8 become lone surrogates; what is made of them is the reader's to
        count.

        Raises:
            DataError: a line is longer than `longest` bytes, or holds NUL bytes.
        """
        with self.open() as opened:
            blocks: Iterator[bytes] = iter(lambda: opened.read(BLOCK), b"")
            first = next(blocks, b"")
            if first[:2] in (b"\xff\xfe", b"\xfe\xff"):
                decoder = codecs.getincrementaldecoder("utf-16")("replace")
                texts = (decoder.decode(block) for block in chain([first], blocks))
                blocks, first = (text.encode("utf-8", "replace") for text in texts), b""
            rest, number = first.removeprefix(b"\xef\xbb\xbf"), 0
            while True:
                *whole, rest = rest.split(b"\n")
                for line in whole:
                    number += 1
                    if len(line) > longest or b"\0" in line:
                        self._check(line, number, longest)
                    yield Line(number, line.decode("utf-8", "surrogateescape").removesuffix("\r"))
                self._check(rest, number + 1, longest)
                block = next(blocks, None)
                if block is None:
                    break
                rest += block
            if rest:
                yield Line(number + 1, rest.decode("utf-8", "surrogateescape").removesuffix("\r"))

    def _check(self, line: bytes, number: int, longest: int) -> None:
        if len(line) > longest:
            fix = "this is no export of chat"
            raise DataError(
                f"a line longer than {longest >> 20} MB", where=f"{self.where}:{number}", fix=fix
            )
        if b"\0" in line:
            raise DataError(
                "a NUL byte", where=f"{self.where}:{number}", fix="this is no text; export it again"
            )


def files_of(path: Path) -> list[File]:
    """Return the files of an export, in natural order of their names: those of a folder and of the
    zips in it, or of a zip.

    Raises:
        DataError: there is nothing, too much, or something unsafe.
    """
    if path.is_dir():
        inside = [p for p in path.rglob("*") if _regular(p)]
        zips = [p for p in inside if p.suffix.casefold() == ".zip" and zipfile.is_zipfile(p)]
        files = [_plain(p, p.relative_to(path).as_posix()) for p in inside if p not in zips]
        files += [file for p in zips for file in _zipped(p)]
    elif path.is_file():
        files = _zipped(path) if zipfile.is_zipfile(path) else [_plain(path, path.name)]
    else:
        raise DataError(
            "no such file or folder", where=str(path), fix="give the export as the app wrote it"
        )
    if len(files) > MOST_FILES:
        raise DataError(
            f"{len(files):,} files",
            where=str(path),
            fix=f"give fewer than {MOST_FILES:,} at a time",
        )
    return sorted(files, key=lambda file: _natural(file.name))


def _regular(path: Path) -> bool:
    """A file itself: no link that could lead elsewhere, no device."""
    return stat.S_ISREG(path.lstat().st_mode)


def _plain(path: Path, name: str) -> File:
    return File(name, str(path), path.stat().st_size, lambda: path.open("rb"), path)


def _zipped(path: Path) -> list[File]:
    try:
        archive = zipfile.ZipFile(path)
        entries = [
            entry for entry in archive.infolist() if not entry.filename.endswith(("/", "\\"))
        ]
    except (
        zipfile.BadZipFile,
        ValueError,
        NotImplementedError,
        EOFError,
        OSError,
        struct.error,
    ) as error:
        raise DataError(
            f"the archive is damaged ({error})", where=str(path), fix="export it again"
        ) from None
    for entry in entries:
        parts = PurePosixPath(entry.filename.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or re.match(r"[A-Za-z]:", entry.filename):
            raise DataError(
                "a file name that leaves its folder",
                where=str(path),
                fix="this archive is not safe",
            )
    size = sum(entry.file_size for entry in entries)
    if size > SWELLING * max(path.stat().st_size, 1 << 20):
        raise DataError(
            f"it would unpack to {size >> 20:,} MB",
            where=str(path),
            fix="unpack it yourself if it is safe",
        )
    return [_entry(archive, path, entry) for entry in entries]


def _entry(archive: zipfile.ZipFile, path: Path, entry: zipfile.ZipInfo) -> File:
    name = f"{path.stem}/{entry.filename}".replace("\\", "/")
    return File(name, f"{path.parent}/{name}", entry.file_size, lambda: archive.open(entry))


def _natural(name: str) -> list[tuple[int, str]]:
    """`message_10` after `message_9`."""
    return [
        (int(part), "") if part.isascii() and part.isdigit() else (-1, part)
        for part in re.split(r"([0-9]{1,9})", name)
    ]
