"""Text generation piece by piece, many replies at once: what runs in the engine's own process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from vvae.core.errors import ModelError
from vvae.core.random import bits64
from vvae.decoder.phrases import DecoderEngine
from vvae.encoders.in_the_loop import Placement, opened
from vvae.inference.engine import (
    DEFAULT_NEW_TOKENS,
    GenerationConfig,
    Request,
    check_no_contrasts,
    no_strength,
)
from vvae.inference.transformers import SPARE_COLUMNS, ReplyBatch, Wrote

__all__ = ["BatchedEngine", "CompletionsEngine", "LiveEngine", "Piece"]

T = TypeVar("T")
UNFINISHED = "\ufffd"
"""What half a character decodes to: its other bytes come with the next token."""
LONGEST_LINE = 1 << 20


class Piece(NamedTuple):
    """A piece of text as it is written; the last one has the finish reason and the number of
    tokens.
    """

    text: str
    finish_reason: str | None = None
    tokens: int = 0


class LiveEngine(Protocol):
    """An engine that writes replies as they are asked for."""

    context: int
    """Tokens of prompt and reply."""

    def stream(
        self, request: Request, adapter: str, config: GenerationConfig, *, seed: int
    ) -> AsyncGenerator[Piece]:
        """Yield a reply as it is written; closing the iterator frees its place."""
        ...

    async def opened(
        self, request: Request, adapter: str, found: Placement, lacking: Sequence[str], *, seed: int
    ) -> Request:
        """Return the request for a reply into which a value was put.

        Raises:
            ConfigError: the engine cannot see where it fits.
        """
        ...

    async def close(self) -> None:
        """Let go of what it holds."""
        ...


class BatchedEngine:
    """A transformers model in this process: a batch for each adapter, that replies join and leave
    between two tokens.

    Args:
        switch: makes an adapter the one in use.
        slots: replies of an adapter at once.
    """

    def __init__(
        self,
        engine: DecoderEngine,
        adapters: Sequence[str],
        switch: Callable[[str], None],
        *,
        slots: int,
        context: int,
    ) -> None:
        self.context = context
        self._engine, self._switch, self._used = engine, switch, ""
        self._batches: dict[str, ReplyBatch] = {
            name: engine.batch(slots, context + SPARE_COLUMNS) for name in adapters
        }
        self._waiting: dict[int, asyncio.Queue[Piece | Exception]] = {}
        self._sent: dict[int, int] = {}
        self._joining: list[tuple[str, int, Request, GenerationConfig, int]] = []
        self._leaving: list[tuple[str, int]] = []
        self._number = 0
        self._writing: asyncio.Task[None] | None = None
        self._model = asyncio.Lock()
        """Held by who computes: a step of the batches, or the look for a place."""

    async def stream(
        self, request: Request, adapter: str, config: GenerationConfig, *, seed: int
    ) -> AsyncGenerator[Piece]:
        """Yield a reply as it is written; closing the iterator frees its place.

        Raises:
            ConfigError: the request has more contrasts than there are places.
            Exception: whatever the model raised for the batch.
        """
        self._batches[adapter].check(request)
        if self._writing is not None and self._writing.done():
            self._writing.result()  # what ended it; the batches cannot be trusted any more
        self._number += 1
        name, queue = self._number, asyncio.Queue[Piece | Exception]()
        self._waiting[name] = queue
        self._joining.append((adapter, name, request, config, seed))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())
        try:
            while True:
                piece = await queue.get()
                if isinstance(piece, Exception):
                    raise piece
                yield piece
                if piece.finish_reason:
                    return
        finally:
            if self._waiting.pop(name, None) is not None and name in self._sent:
                self._leaving.append((adapter, name))

    async def opened(
        self, request: Request, adapter: str, found: Placement, lacking: Sequence[str], *, seed: int
    ) -> Request:
        """Return the request for a reply into which a value was put, between two tokens of others.

        Raises:
            Exception: whatever the model raised.
        """

        def look() -> Request:
            self._use(adapter)
            return opened(self._engine, request, found, lacking, seed=seed)

        return await self._computed(look)

    async def _computed(self, work: Callable[[], T]) -> T:
        """What the model computes, while nothing else does: to its end, also where nobody waits for
        it any more.
        """
        await self._model.acquire()
        computing = asyncio.get_running_loop().run_in_executor(None, work)

        def release(done: asyncio.Future[T]) -> None:
            self._model.release()
            if not done.cancelled():
                done.exception()  # whoever has gone need not hear of it

        computing.add_done_callback(release)
        return await asyncio.shield(computing)

    async def close(self) -> None:
        """Do nothing: only memory is held."""

    async def _write(self) -> None:
        try:
            while self._joining or any(batch.busy for batch in self._batches.values()):
                await self._write_on()
        except Exception as error:
            for queue in self._waiting.values():
                queue.put_nowait(error)
            raise  # for the next who asks: there may be nobody who waits

    async def _write_on(self) -> None:
        joining, self._joining = self._joining, []
        leaving, self._leaving = self._leaving, []
        for adapter, name, request, config, seed in joining:
            if name in self._waiting:
                self._sent[name] = 0
                self._batches[adapter].add(name, request, config, seed=seed)
        for adapter, name in leaving:
            if self._sent.pop(name, None) is not None:
                self._batches[adapter].drop(name)
        for name, piece in await self._computed(self._step):
            if queue := self._waiting.get(name):
                queue.put_nowait(piece)
        await asyncio.sleep(0)  # what was written goes out before the next step takes the cores

    def _step(self) -> list[tuple[int, Piece]]:
        pieces: list[tuple[int, Piece]] = []
        for adapter, batch in self._batches.items():
            if batch.busy:
                self._use(adapter)
                pieces += [
                    (wrote.name, piece) for wrote in batch.step() if (piece := self._piece(wrote))
                ]
        return pieces

    def _use(self, adapter: str) -> None:
        if adapter != self._used:
            self._switch(adapter)
            self._used = adapter

    def _piece(self, wrote: Wrote) -> Piece | None:
        text, sent = self._engine.text(wrote.tokens), self._sent.get(wrote.name, 0)
        if wrote.finish_reason:
            self._sent.pop(wrote.name, None)
        elif text.endswith(UNFINISHED):
            return None
        else:
            self._sent[wrote.name] = len(text)
        return Piece(text[sent:], wrote.finish_reason, len(wrote.tokens))


class CompletionsEngine:
    """An OpenAI-compatible server's ``/completions``, asked with token ids: vLLM, or llama.cpp in
    this process. Its errors do not say where it is: they reach clients.

    Args:
        base_url: up to ``/v1``.
        models: adapter -> (the model's name there, further fields of the body).
        stops: texts that end a reply.
    """

    def __init__(
        self,
        base_url: str,
        models: Mapping[str, tuple[str, Mapping[str, Any]]],
        *,
        key: str | None = None,
        stops: Sequence[str] = (),
        context: int,
    ) -> None:
        self.context = context
        self._url, self._models, self._stops = (
            base_url.rstrip("/") + "/completions",
            models,
            list(stops),
        )
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._session: Any = None

    async def stream(
        self, request: Request, adapter: str, config: GenerationConfig, *, seed: int
    ) -> AsyncGenerator[Piece]:
        """Yield a reply as it is written; closing the iterator closes the connection, which frees
        the place there.

        Raises:
            ModelError: the server cannot be reached or refuses.
            ConfigError: the request has contrasts.
        """
        import aiohttp

        check_no_contrasts([request])
        model, further = self._models[adapter]
        body = {
            **further,
            "model": model,
            "prompt": list(request.prompt),
            "max_tokens": config.max_new_tokens or DEFAULT_NEW_TOKENS,
            "temperature": config.temperature,
            "top_p": config.top_p,
            "seed": bits64("token", seed, request.key) % 2**31,
            "stop": self._stops,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
            # A connection of its own for each reply: one that is kept may be closed just as it is
            # used again.
            connector = aiohttp.TCPConnector(limit=0, force_close=True)
            self._session = aiohttp.ClientSession(
                headers=self._headers,
                timeout=timeout,
                connector=connector,
                read_bufsize=LONGEST_LINE,
            )
        tokens, finish, counted = 0, "", 0
        try:
            async with self._session.post(self._url, json=body) as answer:
                if answer.status != 200:
                    raise ModelError(f"the engine's server answered {answer.status}")
                async for line in answer.content:
                    if not line.startswith(b"data:") or (data := line[5:].strip()) == b"[DONE]":
                        continue
                    event = json.loads(data)
                    if "error" in event:
                        raise ModelError("the engine's server failed in the middle of a reply")
                    counted = (event.get("usage") or {}).get("completion_tokens") or counted
                    for choice in event.get("choices") or ():
                        tokens += 1
                        finish = choice.get("finish_reason") or finish
                        if text := choice.get("text"):
                            yield Piece(text)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise ModelError(f"the engine's server fails ({type(error).__name__})") from None
        yield Piece("", finish or "stop", counted or tokens)

    async def opened(
        self, request: Request, adapter: str, found: Placement, lacking: Sequence[str], *, seed: int
    ) -> Request:
        """Refuse: the server does not show what its model finds likely."""
        raise no_strength(found.dimension)

    async def close(self) -> None:
        """Close its connections."""
        if self._session is not None:
            await self._session.close()
