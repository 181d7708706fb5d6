"""The engine's process as the server sees it: asked, cancelled, started anew when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, Literal

from vvae.core.errors import ModelError, VVAEError
from vvae.serving.http.schemas import ApiError
from vvae.serving.http.worker_settings import WorkerSettings

__all__ = ["EngineProcess", "State"]

State = Literal["loading", "ready", "restarting", "failed", "stopped"]
LONGEST_LINE = 16 << 20
LONGEST_PAUSE = 10.0
LOG = logging.getLogger("vvae.server")


class EngineProcess:
    """A process that writes replies: it is started here, handed replies to write, and replaced when
    it dies.

    Args:
        queue: replies that may wait for one of the slots.
    """

    def __init__(self, settings: WorkerSettings, *, queue: int) -> None:
        self.settings, self.capacity = settings, settings.slots + queue
        self.state: State = "loading"
        self.failure: VVAEError | None = None
        """Why it cannot start at all."""
        self.restarts = 0
        self.outstanding = 0
        """Replies being written or waiting."""
        self._queues: dict[int, asyncio.Queue[dict[str, Any]]] = {}
        self._number = 0
        self._seconds = 2.0
        """A reply takes about so long."""
        self._process: asyncio.subprocess.Process | None = None

    async def run(self) -> None:
        """Run until cancelled, or until the process fails for a reason that another start cannot
        mend.
        """
        pause = 0.0
        try:
            while True:
                started = time.monotonic()
                await self._live()
                self._end_all("the engine stopped")
                if self.failure:
                    self.state = "failed"
                    return
                self.state = "restarting"
                self.restarts += 1
                pause = (
                    0.0 if time.monotonic() - started > 60 else min(LONGEST_PAUSE, 2 * pause + 0.5)
                )
                LOG.warning("the engine stopped; starting it again in %.1f s", pause)
                await asyncio.sleep(pause)
        finally:
            self.state = "failed" if self.failure else "stopped"
            self._end_all("the server stops")
            await self._kill()

    async def _live(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "vvae.serving.http.worker",
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
            elif "fatal" in event:
                self.failure = ModelError(event["fatal"])
            elif (queue := self._queues.get(event["id"])) is not None:
                queue.put_nowait(event)
        await self._process.wait()

    async def _kill(self) -> None:
        if self._process and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    def _tell(self, what: Mapping[str, Any]) -> None:
        if self._process and self._process.stdin and not self._process.stdin.is_closing():
            self._process.stdin.write(json.dumps(what).encode() + b"\n")

    def _end_all(self, why: str) -> None:
        for queue in self._queues.values():
            queue.put_nowait({"gone": why})

    def enter(self, replies: int) -> Callable[[], None]:
        """Take room for so many replies; return what gives it back.

        Raises:
            ApiError: 503 without an engine, 429 when full.
        """
        if self.state != "ready":
            what = {
                "loading": "the model is loading",
                "restarting": "the engine is starting again",
            }.get(self.state)
            raise ApiError(
                503,
                what or "the server stops",
                kind="server_error",
                code="unavailable",
                retry_after=2,
            )
        if self.outstanding + replies > self.capacity:
            wait = self._seconds * self.outstanding / self.settings.slots
            raise ApiError(
                429,
                f"{self.outstanding} replies are being written or wait; try again later",
                kind="rate_limit_error",
                code="queue_full",
                retry_after=max(1, min(60, round(wait))),
            )
        self.outstanding += replies

        def leave() -> None:
            self.outstanding -= replies

        return leave

    async def events(self, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        """Yield what the engine says of one reply, to its end; closing the iterator frees its slot.

        Raises:
            ApiError: 400 where the engine refuses the prompt, 503 where it is gone.
        """
        if self.state != "ready":
            raise ApiError(
                503, "the engine stopped", kind="server_error", code="engine_died", retry_after=2
            )
        self._number += 1
        name, queue = self._number, asyncio.Queue[dict[str, Any]]()
        self._queues[name] = queue
        started, ended = time.monotonic(), False
        self._tell({"id": name, **body})
        try:
            while not ended:
                event = await queue.get()
                if "gone" in event:
                    ended = True
                    raise ApiError(
                        503, event["gone"], kind="server_error", code="engine_died", retry_after=2
                    )
                ended = "done" in event or "error" in event
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
                if ended:
                    self._seconds += 0.1 * (time.monotonic() - started - self._seconds)
                yield event
        finally:
            del self._queues[name]
            if not ended:
                self._tell({"cancel": name})
