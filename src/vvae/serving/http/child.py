"""The other side of a `ChildProcess`: JSON lines in, JSON lines out, one task for each request.

In, first the settings, then ``{"id": 1, ...}`` and ``{"cancel": 1}``; out, ``{"ready": ...}``, then
events with the id of their request, the last of which has ``done`` or ``error``; ``{"fatal":
"..."}`` where it cannot start.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

from vvae.core.errors import VVAEError

__all__ = ["LONGEST_LINE", "Child", "give_up", "run_child"]

LONGEST_LINE = 16 << 20
"""Bytes of a line, in either direction."""


class Child(ABC):
    """A worker that answers requests as they come, each in a task of its own."""

    def __init__(self, out: Any) -> None:
        self._out = out
        self._tasks: dict[int, asyncio.Task[None]] = {}

    @abstractmethod
    async def answer(self, message: dict[str, Any]) -> None:
        """Say what one request asks for."""

    def say(self, **event: Any) -> None:
        """Write one line to the parent."""
        self._out.write(json.dumps(event).encode() + b"\n")
        self._out.flush()

    async def listen(self, source: Any) -> None:
        """Read lines until the parent closes its end."""
        lines = asyncio.StreamReader(limit=LONGEST_LINE)
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(lines), source
        )
        while line := await lines.readline():
            message = json.loads(line)
            if "cancel" in message:
                if task := self._tasks.get(message["cancel"]):
                    task.cancel()
                continue
            task = asyncio.create_task(self.answer(message))
            self._tasks[message["id"]] = task
            task.add_done_callback(lambda _, name=message["id"]: self._tasks.pop(name, None))  # type: ignore[misc]


def run_child(serve: Callable[[bytes, Any, Any], Awaitable[None]]) -> NoReturn:
    """Run the process.

    Args:
        serve: given the settings as JSON, the source of lines and where answers go.
    """
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints goes to the log, not between the lines
    source = open(0, "rb", buffering=0, closefd=False)  # noqa: SIM115

    async def served() -> None:
        await serve(_first_line(source), source, out)

    try:
        asyncio.run(served())
    except VVAEError as error:
        out.write(json.dumps({"fatal": str(error)}).encode() + b"\n")
        out.flush()
        os._exit(3)
    os._exit(0)  # llama.cpp's threads and torch's need no farewell


def give_up(error: Exception, what: str) -> NoReturn:
    """End the process at once: what is in memory cannot be trusted any more, and the parent starts
    another.
    """
    print(f"vvae: {what} failed: {type(error).__name__}", file=sys.stderr, flush=True)  # noqa: T201
    os._exit(1)


def _first_line(source: Any) -> bytes:
    line = bytearray()
    while not line.endswith(b"\n") and (byte := source.read(1)):
        line += byte
    return bytes(line)
