"""The reader's process (`child`): the run's encoder reads conversations, apart from the server.

In, after the settings (`ReaderSettings`)::

    {"id": 1, "turns": [[0, "you", "hi"]], "speaker": "Ana"}

Out: ``{"id": 1, "done": true, "slots": {"tone": "playful"}}``, ``{"id": 1, "error": "...", "user":
    false}``.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from vvae.core.errors import UserError, VVAEError
from vvae.pipeline.run import Run
from vvae.serving.http.child import Child, give_up, run_child
from vvae.serving.http.reader_process import ReaderSettings
from vvae.serving.session import ConversationReader, turn_of

__all__ = ["ReaderWorker", "serve"]


class ReaderWorker(Child):
    """A worker that reads one conversation at a time."""

    def __init__(self, reader: ConversationReader, out: Any) -> None:
        super().__init__(out)
        self._reader, self._one = reader, asyncio.Lock()

    async def answer(self, message: dict[str, Any]) -> None:
        """Read a conversation."""
        turns = [turn_of(*turn) for turn in message["turns"]]
        async with self._one:
            try:
                persona = await asyncio.to_thread(self._reader.read, turns, message["speaker"])
            except UserError as error:  # a model's server; where it is, is not the client's to know
                print(f"vvae: the reader: {error.what}", file=sys.stderr, flush=True)  # noqa: T201
                what = "the conversation cannot be read: the encoder does not answer"
                self.say(id=message["id"], error=what, user=False)
                return
            except Exception as error:
                give_up(error, "the reader")
        slots = {name: slot.value for name, slot in persona}
        self.say(id=message["id"], done=True, slots=slots)


async def serve(line: bytes, source: Any, out: Any) -> None:
    """Load the encoder and read until the parent goes."""
    settings = ReaderSettings.model_validate_json(line)
    try:
        run = Run.open(settings.run)
        worker = ReaderWorker(ConversationReader(run.encoder, run.space), out)
    except VVAEError as error:
        print(f"vvae: the reader cannot start: {error}", file=sys.stderr, flush=True)  # noqa: T201
        raise
    worker.say(ready=True)
    await worker.listen(source)


if __name__ == "__main__":
    run_child(serve)
