"""The reader's process as the server sees it: what the knob ``auto`` finds in a conversation."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any

from pydantic import BaseModel, ConfigDict

from vvae.core.dialogue import Turn
from vvae.latent.persona import Persona, Slot
from vvae.latent.steering import Demand
from vvae.serving.http.child_process import ChildProcess
from vvae.serving.http.schemas import ApiError

__all__ = ["SECONDS_TO_READ", "ReaderProcess", "ReaderSettings"]

SECONDS_TO_START = 60.0
SECONDS_TO_READ = 20.0
"""What is read is bounded, so labelling functions never take as long."""
GRACE = 2.0
"""Seconds that a reading may go on once its client has gone."""


class ReaderSettings(BaseModel):
    """A choice of the run whose encoder reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str


class ReaderProcess(ChildProcess):
    """A process that reads conversations, one after the other, with a run's encoder.

    It is started when the first one is to be read. A reading that takes too long, or whose client
    has gone, is ended with its process, and another process reads the next.

    Args:
        seconds: for one conversation or card.
    """

    def __init__(self, settings: ReaderSettings, *, seconds: float = SECONDS_TO_READ) -> None:
        super().__init__("vvae.serving.http.reader", settings, "the reader")
        self._seconds = seconds
        self._wanted = asyncio.Event()
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Run until cancelled, from the first conversation on."""
        await self._wanted.wait()
        await super().run()

    async def read(self, turns: Sequence[Turn], speaker: str) -> Persona:
        """Return z of a conversation so far, for the one who replies next.

        Raises:
            ApiError: 503 where the encoder fails or cannot start, 504 where it takes too long.
        """
        told = [[turn.id, turn.speaker, turn.text] for turn in turns]
        slots: dict[str, str] = await self._asked({"turns": told, "speaker": speaker})
        return Persona({name: Slot(value, "observed") for name, value in slots.items()})

    async def met(
        self,
        turns: Sequence[Turn],
        speaker: str,
        demands: Mapping[str, Demand],
        texts: Sequence[str],
    ) -> list[frozenset[str]]:
        """Return which demands each candidate of a speaker's next reply meets.

        Raises:
            ApiError: as `read` does.
        """
        told = [[turn.id, turn.speaker, turn.text] for turn in turns]
        body = {"turns": told, "speaker": speaker, "demands": dict(demands), "texts": list(texts)}
        return list(map(frozenset, (await self._asked(body))["met"]))

    async def read_card(self, card: Mapping[str, Any]) -> dict[str, Any]:
        """Return z of a character card that others made, as `Card.read` does.

        Raises:
            ApiError: as `read` does.
        """
        return await self._asked({"card": card})

    async def _asked(self, body: dict[str, Any]) -> dict[str, Any]:
        self._wanted.set()
        await self._turn.acquire()
        reading = asyncio.create_task(self._read(body))
        reading.add_done_callback(lambda _: self._turn.release())
        try:
            return await asyncio.shield(reading)
        except TimeoutError:
            self.end_now()
            raise ApiError(504, "it could not be read in time", kind="server_error") from None
        finally:
            if not reading.done():
                asyncio.get_running_loop().call_later(GRACE, self._end_unless_done, reading)

    def _end_unless_done(self, reading: asyncio.Task[dict[str, Any]]) -> None:
        if reading.done():
            reading.exception()  # nobody is there any more to be told of it
        else:
            self.end_now()

    async def _read(self, body: dict[str, Any]) -> dict[str, Any]:
        async with asyncio.timeout(SECONDS_TO_START):
            await self._settled.wait()
        if self.state == "failed":
            raise self._gone("the reader cannot start; the server's log says why")
        async with asyncio.timeout(self._seconds), aclosing(self.events(body)) as events:
            event = await anext(events)
        slots: dict[str, Any] = event["slots"]
        return slots
