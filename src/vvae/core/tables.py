"""Parquet tables, written whole or not at all.

A table carries its kind and format version in the file's metadata; reading another one is a
`DataError` and never a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl
from polars.io.plugins import register_io_source

from vvae.core.errors import DataError
from vvae.core.files import atomic_path

__all__ = [
    "FORMAT_VERSION",
    "ROWS_AT_ONCE",
    "check_table",
    "read_table",
    "write_frames",
    "write_table",
]

FORMAT_VERSION = "1"
ROWS_AT_ONCE = 4096


def write_table(
    path: Path, kind: str, rows: Iterable[Mapping[str, Any]], schema: Mapping[str, Any]
) -> None:
    """Writes rows as they come."""
    left = iter(rows)

    def frames() -> Iterator[pl.DataFrame]:
        while some := list(islice(left, ROWS_AT_ONCE)):
            yield pl.DataFrame(some, schema=dict(schema), orient="row")

    write_frames(path, kind, frames, schema, ROWS_AT_ONCE)


def write_frames(
    path: Path,
    kind: str,
    frames: Callable[[], Iterator[pl.DataFrame]],
    schema: Mapping[str, Any],
    rows: int,
) -> None:
    """Writes frames as they come, so that a table may be larger than memory."""
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
    """Whether a file is a table of a kind, as this version writes it.

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
    if (found := metadata.get("vvae.kind")) != kind:
        raise DataError(f"this is no {kind} table (found: {found})", where=str(path), fix=fix)
    if (version := metadata.get("vvae.format")) != FORMAT_VERSION:
        raise DataError(
            f"format {version}, this version reads {FORMAT_VERSION}", where=str(path), fix=fix
        )


def read_table(path: Path, kind: str) -> pl.DataFrame:
    """The rows of a table of a kind.

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
