"""Standard output as it may be: of an encoding that lacks characters, or a pipe that nobody reads.

A character that the encoding lacks is written as a plain one of the same width where there is one,
so that tables hold, else as its number: what was said can still be told.
"""

from __future__ import annotations

import codecs
import io
import os
import sys

__all__ = ["flush_output", "prepare_output"]

PLAIN = str.maketrans("█–—…•±✓✗⚠→’“”", '#--~*~+x!>\'""')
NAME = "vvae.plain"


def prepare_output() -> None:
    """Let nothing that is printed fail for the encoding of the terminal, file or pipe."""
    codecs.register_error(NAME, _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=NAME)


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end].translate(PLAIN)
    return lacking.encode("ascii", "backslashreplace").decode("ascii"), error.end


def flush_output() -> None:
    """Write what is left; a reader who has gone away (`| head`) is no error."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
