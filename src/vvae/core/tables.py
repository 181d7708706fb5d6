"""Parquet tables, written whole or not at all.

A table carries its kind and format version in the file's metadata; reading another one is a
`DataError` and never a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar

import polars as pl
from polars.io.plugins import register_io_source

from vvae.core.errors import DataError
from vvae.core.files import atomic_path

__all__ = ["ROWS_AT_ONCE", "Table", "check_table", "read_frame", "write_frames", "write_rows"]

T = TypeVar("T")
FORMAT_VERSION = "1"
ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class Table(Generic[T]):
    """A table of records of one type: the one way in and out of parquet.

    Args:
        kind: in the file's metadata; a file of another kind is refused.
        schema: column -> polars type.
        from_row: makes a record of a row.
        to_row: makes a row of a record; by default its attributes with the columns' names.
    """

    kind: str
    schema: Mapping[str, Any]
    from_row: Callable[[dict[str, Any]], T]
    to_row: Callable[[T], Mapping[str, Any]] | None = None

    def write(self, path: Path, records: Iterable[T]) -> None:
        """Write records as they come."""
        to_row = self.to_row or (lambda r: {name: getattr(r, name) for name in self.schema})
        write_rows(path, self.kind, map(to_row, records), self.schema)

    def read(self, path: Path) -> list[T]:
        """Return all records.

        Raises:
            DataError: the file is no such table, or of another version.
        """
        return [self.from_row(row) for row in read_frame(path, self.kind).iter_rows(named=True)]


def write_rows(
    path: Path, kind: str, rows: Iterable[Mapping[str, Any]], schema: Mapping[str, Any]
) -> None:
    """Write rows as they come."""
    remaining = iter(rows)

    def frames() -> Iterator[pl.DataFrame]:
        while chunk := list(islice(remaining, ROWS_AT_ONCE)):
            yield pl.DataFrame(chunk, schema=dict(schema), orient="row")

    write_frames(path, kind, frames, schema, ROWS_AT_ONCE)


def write_frames(
    path: Path,
    kind: str,
    frames: Callable[[], Iterator[pl.DataFrame]],
    schema: Mapping[str, Any],
    rows: int,
) -> None:
    """Write frames as they come, so that a table may be larger than memory."""
    stopped: list[BaseException] = []

    def until_stopped() -> Iterator[pl.DataFrame]:
        # Raised within, it would reach us while threads of the writer still hold the file.
        try:
            yield from frames()
        except BaseException as error:
            stopped.append(error)

    table = register_io_source(lambda *_: until_stopped(), schema=pl.Schema(schema))
    metadata = {"vvae.kind": kind, "vvae.format": FORMAT_VERSION}
    with atomic_path(path) as temporary:
        table.sink_parquet(
            temporary, metadata=metadata, row_group_size=rows, maintain_order=True, statistics=False
        )
        if stopped:
            raise stopped[0]


def check_table(path: Path, kind: str) -> None:
    """Check that a file is a table of a kind, as this version writes it.

    Raises:
        DataError: it is not.
    """
    fix = "run the stage that makes it again"
    try:
        metadata = pl.read_parquet_metadata(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(
            f"cannot be read ({type(error).__name__})", where=str(path), fix=fix
        ) from None
    if (stored_kind := metadata.get("vvae.kind")) != kind:
        raise DataError(f"this is no {kind} table (found: {stored_kind})", where=str(path), fix=fix)
    if (version := metadata.get("vvae.format")) != FORMAT_VERSION:
        raise DataError(
            f"format {version}, this version reads {FORMAT_VERSION}", where=str(path), fix=fix
        )


def read_frame(path: Path, kind: str) -> pl.DataFrame:
    """Return the table of a kind.

    Raises:
        DataError: it is none, or cannot be read.
    """
    check_table(path, kind)
    try:
        return pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        fix = "run the stage that makes it again"
        raise DataError(
            f"cannot be read ({type(error).__name__})", where=str(path), fix=fix
        ) from None
