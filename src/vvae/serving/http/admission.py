"""A request's place among those being answered: taken, timed, counted and given back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from anyio import to_thread
from fastapi import Request

from vvae.core.errors import UserError
from vvae.latent.persona import Persona
from vvae.serving.http.replies import ClientGoneError, EventStream, unless_gone
from vvae.serving.http.schemas import ApiError, ChatRequest, Headers
from vvae.serving.http.service import Service

if TYPE_CHECKING:
    from vvae.serving.http.personas import ReplySpec
    from vvae.serving.http.replies import Answer

__all__ = ["Admission", "admitted"]

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

    def take(self, replies: int) -> None:
        """Take further places, for candidates of the replies.

        Raises:
            ApiError: 429 where the queue is full.
        """
        if replies > 0 and (former := self._leave):
            further = self._service.engine.enter(replies)

            def leave() -> None:
                former()
                further()

            self._leave = leave

    @property
    def seconds(self) -> float:
        """Return the time left for its replies."""
        return max(0.1, self._service.limits.seconds - (time.monotonic() - self._arrived))

    async def spec(self, request: Request, body: ChatRequest, headers: Headers) -> ReplySpec:
        """Return everything about the reply that a request asks for but its text.

        Raises:
            ApiError: 404 for an unknown model, 400 for a message that is no chat, 503 or 504 where
                the conversation cannot be read.
            ConfigError: what is asked of z cannot be.
            ClientGoneError: the client went while the conversation was read.
        """
        understand = partial(self.personas.understand, body, headers)
        # In a thread: some milliseconds for each MB, in which other replies go on.
        asked = await to_thread.run_sync(understand, limiter=self._service.threads)
        heard = Persona()
        if asked.reads:
            reading = self._service.reader.read(asked.turns, asked.speaker)
            heard = await unless_gone(request.receive, reading)
        return self.personas.resolve(asked, heard)

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
