"""A request's place among those being answered: taken, timed, counted and given back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from anyio import to_thread

from vvae.core.errors import UserError
from vvae.serving.http.replies import ClientGoneError, EventStream, unless_gone
from vvae.serving.http.schemas import ApiError
from vvae.serving.http.service import Service

if TYPE_CHECKING:
    from vvae.serving.http.replies import Answer

__all__ = ["Admission", "admitted"]

T = TypeVar("T")
SECONDS_TO_READ = 10.0
"""Given to a client for reading what was written, after the time for a request is over."""


class Admission:
    """The place of one request, until its last byte is sent.

    Args:
        replies: how many places it takes.

    Raises:
        ApiError: 503 without an engine or while the run is read, 429 where the queue is full.
    """

    def __init__(self, service: Service, replies: int) -> None:
        self._service, self._arrived = service, time.monotonic()
        self.personas = service.personas
        self._leave: Callable[[], None] | None = service.engine.enter(replies)

    @property
    def seconds(self) -> float:
        """Return the time left for its replies."""
        return max(0.1, self._service.limits.seconds - (time.monotonic() - self._arrived))

    async def in_thread(self, receive: Callable[[], Awaitable[Any]], work: Callable[[], T]) -> T:
        """Return the result of work that takes a while, in a thread.

        Raises:
            ApiError: 504, it took too long.
            ClientGoneError: the client went.
        """
        working = to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._service.readers)
        try:
            async with asyncio.timeout(self._service.limits.seconds):
                return await unless_gone(receive, working)
        except TimeoutError:
            raise ApiError(
                504, "the conversation could not be read in time", kind="server_error"
            ) from None

    def answered(self, outcome: str, answer: Answer) -> None:
        """Count an answer and how it ended."""
        self._service.metrics.ended(outcome, answer, self._arrived)

    def stream(self, answer: Answer, lines: Any, headers: dict[str, str]) -> EventStream:
        """Return the response of a streamed answer, which keeps the place to its end."""
        leave, self._leave = self._leave, None

        def after(ended: str) -> None:
            if leave:
                leave()
            self.answered(str(answer.failed or ended), answer)

        seconds = self._service.limits.seconds + SECONDS_TO_READ
        return EventStream(lines, headers, after, seconds=seconds)

    def close(self) -> None:
        """Give the place back, unless a stream has taken it over."""
        if self._leave:
            self._leave()
            self._leave = None


@contextmanager
def admitted(service: Service, replies: int) -> Iterator[Admission]:
    """Take a place for the length of the block; what ends the block early is counted."""
    admission: Admission | None = None
    try:
        admission = Admission(service, replies)
        yield admission
    except ClientGoneError:
        service.metrics.count("disconnected")
        raise
    except ApiError as error:
        service.metrics.count(str(error.status))
        raise
    except UserError:
        service.metrics.count("400")
        raise
    finally:
        if admission:
            admission.close()
