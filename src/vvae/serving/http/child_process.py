"""A process that answers in JSON lines: asked, cancelled, and started anew when it dies.

What can take long or fail badly (a model, an encoder) lives in one of these, so that it can be
ended: a thread cannot be.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Literal

from pydantic import BaseModel

from vvae.core.errors import ModelError, VVAEError
from vvae.serving.http.child import LONGEST_LINE
from vvae.serving.http.schemas import ApiError

__all__ = ["ChildProcess", "State"]

State = Literal["loading", "ready", "restarting", "failed", "stopped"]
LONGEST_PAUSE = 10.0
LOG = logging.getLogger("vvae.server")


class ChildProcess:
    """A process that works on what it is asked: started here, and replaced when it dies.

    Args:
        module: what it runs; it reads the settings as its first line, then says ``{"ready": ...}``
            or ``{"fatal": why}``.
        what: what messages call it.
    """

    def __init__(self, module: str, settings: BaseModel, what: str) -> None:
        self.settings, self.what = settings, what
        self.state: State = "loading"
        self.failure: VVAEError | None = None
        """Why it cannot start at all."""
        self.restarts = 0
        self._module = module
        self._queues: dict[int, asyncio.Queue[dict[str, Any]]] = {}
        self._number = 0
        self._process: asyncio.subprocess.Process | None = None
        self._settled = asyncio.Event()
        """Set while it answers, and once it never will."""

    async def run(self) -> None:
        """Run until cancelled, or until the process fails for a reason that another start cannot
        mend.
        """
        pause = 0.0
        try:
            while True:
                started = time.monotonic()
                await self._live()
                if self.failure:
                    self._changed("failed")
                    return
                self._changed("restarting")
                self.restarts += 1
                pause = (
                    0.0 if time.monotonic() - started > 60 else min(LONGEST_PAUSE, 2 * pause + 0.5)
                )
                LOG.warning("%s stopped; starting it again in %.1f s", self.what, pause)
                await asyncio.sleep(pause)
        finally:
            self._changed("failed" if self.failure else "stopped", "the server stops")
            self._kill()
            if self._process:
                await self._process.wait()

    def _changed(self, state: State, why: str = "") -> None:
        """Take a state in which nobody who waits is answered."""
        self.state = state
        self._settled.clear()
        if state in ("failed", "stopped"):
            self._settled.set()
        for queue in self._queues.values():
            queue.put_nowait({"gone": why or f"{self.what} stopped"})

    async def _live(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self._module,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LONGEST_LINE,
            start_new_session=True,  # Ctrl-C is for the server, which lets replies end first
        )
        self._tell(self.settings.model_dump(mode="json"))
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            try:
                event = json.loads(line)
            except ValueError:  # the last thing it said before it died
                break
            if "ready" in event:
                self.state = "ready"
                self._settled.set()
            elif "fatal" in event:
                self.failure = ModelError(event["fatal"])
            elif (queue := self._queues.get(event["id"])) is not None:
                queue.put_nowait(event)
        await self._process.wait()

    def _kill(self) -> None:
        if self._process and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    def end_now(self) -> None:
        """Kill a process that is at work, whatever it is at; another one takes its place."""
        if self.state == "ready":
            self._changed("restarting")
            self._kill()

    def _tell(self, what: Mapping[str, Any]) -> None:
        if self._process and self._process.stdin and not self._process.stdin.is_closing():
            self._process.stdin.write(json.dumps(what).encode() + b"\n")

    async def events(self, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        """Yield what the process says of one request, to its end; closing the iterator cancels it
        there.

        Raises:
            ApiError: 400 where it refuses what is asked, 503 where it fails or is gone.
        """
        if self.state != "ready":
            raise self._gone(f"{self.what} stopped")
        self._number += 1
        name, queue = self._number, asyncio.Queue[dict[str, Any]]()
        self._queues[name] = queue
        ended = False
        self._tell({"id": name, **body})
        try:
            while not ended:
                event = await queue.get()
                ended = not event.keys().isdisjoint(("gone", "done", "error"))
                if "gone" in event:
                    raise self._gone(event["gone"])
                if "error" in event:
                    if event["user"]:
                        raise ApiError(400, event["error"], param="messages")
                    raise ApiError(
                        503,
                        event["error"],
                        kind="server_error",
                        code="engine_failed",
                        retry_after=2,
                    )
                yield event
        finally:
            del self._queues[name]
            if not ended:
                self._tell({"cancel": name})

    @staticmethod
    def _gone(why: str) -> ApiError:
        return ApiError(503, why, kind="server_error", code="engine_died", retry_after=2)
