"""The reader's process (`child`): the run's encoder reads conversations, apart from the server.

In, after the settings (`ReaderSettings`)::

    {"id": 1, "turns": [[0, "you", "hi"]], "speaker": "Ana"}
    {"id": 2, "card": {"spec": "chara_card_v2", "data": {...}}}
    {"id": 3, "turns": [...], "speaker": "Ana", "demands": {"tone": ["playful", true]},
     "texts": ["hey!!"]}

Out: ``{"id": 1, "done": true, "slots": {"tone": "playful"}}``, ``{"id": 1, "error": "...", "user":
    false}``; of a card the slots are those of `Card.read`; of candidates of a reply ``{"met":
    [["tone"]]}``, the demands that each of them meets.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from functools import cached_property
from typing import Any

from vvae.core.errors import UserError, VVAEError
from vvae.encoders.base import Encoder
from vvae.encoders.in_the_loop import Judge
from vvae.latent.steering import Demand
from vvae.pipeline.run import Run
from vvae.serving.cards.card import card_from
from vvae.serving.http.child import Child, give_up, run_child
from vvae.serving.http.reader_process import ReaderSettings
from vvae.serving.session import ConversationReader, next_pair, turn_of

__all__ = ["ReaderWorker", "serve"]


class ReaderWorker(Child):
    """A worker that reads one conversation, or card, at a time."""

    def __init__(self, run: Run, out: Any) -> None:
        super().__init__(out)
        self._run, self._one = run, asyncio.Lock()

    @cached_property
    def _encoder(self) -> Encoder:
        return self._run.passing_encoder

    @cached_property
    def _reader(self) -> ConversationReader:
        """What reads conversations; candidates of which words tell need no encoder."""
        return ConversationReader(self._encoder, self._run.space)

    def _slots(self, message: dict[str, Any]) -> dict[str, Any]:
        if "card" in message:
            card = card_from(message["card"], "card")
            return card.read(self._encoder, self._run.space)
        turns = [turn_of(*turn) for turn in message["turns"]]
        if "texts" in message:
            pair, dialogue = next_pair(turns, message["speaker"])
            demands = {name: Demand(*one) for name, one in message["demands"].items()}
            candidates = [(replace(pair, response=text), demands) for text in message["texts"]]
            judge = Judge(lambda: self._reader.encoder(), self._run.space)
            return {"met": list(map(sorted, judge.met(candidates, {dialogue.id: dialogue})))}
        return {name: slot.value for name, slot in self._reader.read(turns, message["speaker"])}

    async def answer(self, message: dict[str, Any]) -> None:
        """Read a conversation or a card."""
        async with self._one:
            try:
                slots = await asyncio.to_thread(self._slots, message)
            except UserError as error:  # a model's server; where it is, is not the client's to know
                print(f"vvae: the reader: {error.what}", file=sys.stderr, flush=True)  # noqa: T201
                what = "it cannot be read: the encoder does not answer"
                self.say(id=message["id"], error=what, user=False)
                return
            except Exception as error:
                give_up(error, "the reader")
        self.say(id=message["id"], done=True, slots=slots)


async def serve(line: bytes, source: Any, out: Any) -> None:
    """Load the encoder and read until the parent goes."""
    settings = ReaderSettings.model_validate_json(line)
    try:
        worker = ReaderWorker(Run.open(settings.run), out)
    except VVAEError as error:
        print(f"vvae: the reader cannot start: {error}", file=sys.stderr, flush=True)  # noqa: T201
        raise
    worker.say(ready=True)
    await worker.listen(source)


if __name__ == "__main__":
    run_child(serve)
