"""What the routes of a served run share: engine, personas, limits and counters."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from anyio import CapacityLimiter
from fastapi import Depends, Request

from vvae.core.errors import VVAEError
from vvae.serving.http.engine_process import EngineProcess
from vvae.serving.http.metrics import ServerMetrics
from vvae.serving.http.reader_process import ReaderProcess
from vvae.serving.http.schemas import ApiError

if TYPE_CHECKING:
    from vvae.serving.http.personas import PersonaResolver

__all__ = ["Limits", "Service", "ServiceDependency"]

THREADS = 4
"""Requests understood at once; other routes have threads of their own."""


@dataclass(frozen=True)
class Limits:
    """A bound on what one request may take.

    Args:
        tokens: of a reply; more is cut to it.
        seconds: from the request to the end of its replies.
    """

    tokens: int = 512
    seconds: float = 120.0


class Service:
    """The engine's and the reader's process, and the personas once the run is read.

    Args:
        load: reads the run; called in a thread.
    """

    def __init__(
        self,
        engine: EngineProcess,
        reader: ReaderProcess,
        load: Callable[[], PersonaResolver],
        limits: Limits | None = None,
    ) -> None:
        self.engine, self.reader = engine, reader
        self.limits, self.metrics = limits or Limits(), ServerMetrics()
        self.failure: VVAEError | None = None
        """Why the server ended, where it could not go on."""
        self._load = load
        self._personas: PersonaResolver | None = None
        self.started = int(time.time())
        self.threads = CapacityLimiter(THREADS)

    @property
    def status(self) -> str:
        """Return ``ok``, or what is going on instead."""
        if self._personas is None:
            return "loading"
        return "ok" if self.engine.state == "ready" else self.engine.state

    @property
    def personas(self) -> PersonaResolver:
        """Return who can be talked to.

        Raises:
            ApiError: 503, the run is not read yet.
        """
        if self._personas is None:
            raise ApiError(
                503, "the run is being read", kind="server_error", code="unavailable", retry_after=1
            )
        return self._personas

    async def run(self, stop: Callable[[], None]) -> None:
        """Read the run and keep the engine alive; `stop` is called where it cannot be."""
        working = asyncio.create_task(self.engine.run())
        reading = asyncio.create_task(self.reader.run())
        try:
            self._personas = await asyncio.to_thread(self._load)
            await working
            self.failure = self.engine.failure
        except VVAEError as error:
            self.failure = error
        except Exception as error:
            self.failure = VVAEError(f"the run cannot be read ({type(error).__name__}: {error})")
        finally:
            for task in (working, reading):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            stop()


def _service(request: Request) -> Any:
    return request.app.state.service


ServiceDependency = Annotated[Service, Depends(_service)]
"""A route's argument of this type is the application's service."""
