"""The engine's process as the server sees it: how many replies it writes, and who has to wait."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any

from vvae.serving.http.child_process import ChildProcess
from vvae.serving.http.schemas import ApiError
from vvae.serving.http.worker_settings import WorkerSettings

__all__ = ["EngineProcess"]

SOON = {"loading": "the model is loading", "restarting": "the engine is starting again"}


class EngineProcess(ChildProcess):
    """A process that writes replies, and the places in it.

    Args:
        queue: replies that may wait for one of the slots.
    """

    def __init__(self, settings: WorkerSettings, *, queue: int) -> None:
        super().__init__("vvae.serving.http.worker", settings, "the engine")
        self.slots, self.capacity = settings.slots, settings.slots + queue
        self.outstanding = 0
        """Replies being written or waiting."""
        self._seconds = 2.0
        """A reply takes about so long."""

    def enter(self, replies: int) -> Callable[[], None]:
        """Take room for so many replies; return what gives it back.

        Raises:
            ApiError: 503 without an engine, 429 when full.
        """
        if self.state != "ready":
            raise ApiError(
                503,
                SOON.get(self.state, "the server stops"),
                kind="server_error",
                code="unavailable",
                retry_after=2,
            )
        if self.outstanding + replies > self.capacity:
            wait = self._seconds * self.outstanding / self.slots
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
        started = time.monotonic()
        async with aclosing(super().events(body)) as events:
            async for event in events:
                if "done" in event:
                    self._seconds += 0.1 * (time.monotonic() - started - self._seconds)
                yield event
