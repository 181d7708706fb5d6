"""`vvae`: the commands of all groups, and what becomes of an error.

Heavy imports are inside the commands, so that help is instant.
"""

from __future__ import annotations

import errno
import sys
from typing import Any

import typer

from vvae.cli import audit, corpus, evaluation, pipeline, serving
from vvae.cli.app import app
from vvae.cli.output import flush_output, prepare_output
from vvae.core.errors import UserError, VVAEError

__all__ = ["main"]

INTERRUPTED = 130
"""What typer returns after Ctrl-C: 128 + SIGINT."""
GROUPS = (pipeline, corpus, evaluation, audit, serving)
"""Importing a group adds its commands."""


def main() -> None:
    """Run the command line; a user's mistake is one line on stderr and exit code 2."""
    prepare_output()
    try:
        _run()
    finally:
        flush_output()


def _run() -> None:
    try:
        code = app(standalone_mode=False)
    except UserError as error:
        _fail(str(error), 2)
    except VVAEError as error:
        _fail(str(error), 1)
    except typer.Abort:  # Ctrl-C, or the end of the input, at a question
        code = INTERRUPTED
    except Exception as error:
        if getattr(error, "errno", None) == errno.ENOSPC or "No space left on device" in str(error):
            _fail(
                "the disk is full — free some space and run the same command again; what is "
                "finished is kept",
                2,
            )
        if isinstance(error, OSError) and error.filename:
            _fail(f"{error.filename}: {error.strerror} — check the path and its permissions", 2)
        if not hasattr(error, "exit_code"):
            raise
        show: Any = getattr(error, "show", None)  # click's own usage errors
        if show is not None:
            show()
        sys.exit(error.exit_code)
    if code == INTERRUPTED:
        _fail("stopped; run the same command again to go on", INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int) -> None:
    print(f"vvae: {message}", file=sys.stderr)  # noqa: T201
    sys.exit(code)
