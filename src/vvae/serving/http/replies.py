"""Replies as they are written, to one HTTP answer: whole, or as server-sent events."""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from uuid import uuid4

from starlette.responses import Response

from vvae.encoders.in_the_loop import FIRST_ROUND, Candidates, rounds
from vvae.serving.http.engine_process import EngineProcess
from vvae.serving.http.reader_process import ReaderProcess
from vvae.serving.http.schemas import ApiError
from vvae.serving.http.text_stream import TextStream

if TYPE_CHECKING:
    from vvae.serving.http.personas import ReplySpec

__all__ = ["Answer", "ClientGoneError", "EventStream", "unless_gone"]

T = TypeVar("T")


IN_TIME = 0.9
"""Share of a request's time in which a round of candidates must end."""


class ClientGoneError(Exception):
    """The client is not there any more."""


class Chunk(NamedTuple):
    """A piece of one choice, as it came."""

    choice: int
    text: str = ""
    finish_reason: str | None = None


def _text_of(chunks: Iterable[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


@dataclass
class Answer:
    """The choices of one answer.

    Args:
        settings: temperature, top_p and max_tokens, as the engine takes them.
        seconds: after which it is given up.
    """

    engine: EngineProcess
    reader: ReaderProcess
    spec: ReplySpec
    model: str
    number: int
    seed: int
    settings: dict[str, Any]
    stops: Sequence[str]
    seconds: float
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))
    prompt_tokens: int = 0
    completion_tokens: int = 0
    first: float | None = None
    """When the first text came."""
    failed: int | None = None
    """The status of an error in the middle of a stream."""
    _places: asyncio.Semaphore = field(init=False)
    """Candidates at the engine at once."""
    candidates: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Choice -> what became of its candidates, where several may be written."""

    def __post_init__(self) -> None:
        """Bound what the request has written at once."""
        self._places = asyncio.Semaphore(self.engine.slots)

    @property
    def at_once(self) -> int:
        """Return how many places it takes: those of its choices, and further candidates as far as
        there are slots for them.
        """
        return max(self.number, min(self.number * self.spec.steered.candidates, self.engine.slots))

    async def chunks(self) -> AsyncGenerator[Chunk]:
        """Yield what is written, of all choices as it comes; the first chunk, without text, says
        that the prompt is read.

        Raises:
            ApiError: the prompt is refused, the engine is gone, or time is up.
        """
        queue: asyncio.Queue[Chunk | Exception] = asyncio.Queue()
        tasks = [asyncio.create_task(self._choice(index, queue)) for index in range(self.number)]
        unfinished, end = self.number, time.monotonic() + self.seconds
        try:
            while unfinished:
                # for each piece anew: a stream's pieces are waited for in other tasks than its
                # first one; and not by wait_for, which before Python 3.12 takes no notice of being
                # cancelled where a piece has just come
                async with asyncio.timeout(max(0.0, end - time.monotonic())):
                    chunk = await queue.get()
                if isinstance(chunk, Exception):
                    raise chunk
                unfinished -= chunk.finish_reason is not None
                yield chunk
        except TimeoutError:
            raise ApiError(
                504, f"no reply in {self.seconds:.0f} s", kind="server_error", code="timeout"
            ) from None
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _choice(self, index: int, queue: asyncio.Queue[Chunk | Exception]) -> None:
        try:
            if self.spec.steered.demands:
                await self._accept(index, queue)
            else:
                await self._write(index, 0, queue.put_nowait)
        except Exception as error:
            queue.put_nowait(error)

    async def _write(
        self,
        index: int,
        candidate: int,
        take: Callable[[Chunk], None],
        put: Mapping[str, Any] | None = None,
    ) -> None:
        """Hands on a reply as it is written.

        Args:
            put: a value that is put into it, and the replies that lack it.
        """
        stream, tokens = TextStream(self.stops), 0
        body = {**self.spec.body(index, self.seed, candidate), **self.settings}
        body |= {"put": put} if put else {}
        async with aclosing(self.engine.events(body)) as events:
            async for event in events:
                if "prompt" in event:
                    self.prompt_tokens = event["prompt"]
                    take(Chunk(index))
                elif "text" in event:
                    tokens += 1
                    if not self.spec.steered.demands:
                        self.first = self.first or time.monotonic()
                    if ready := stream.feed(event["text"]):
                        take(Chunk(index, ready))
                    if stream.stopped:
                        self.completion_tokens += tokens
                        take(Chunk(index, "", "stop"))
                        return
                elif "done" in event:
                    self.completion_tokens += event["tokens"]
                    take(Chunk(index, stream.rest(), event["done"]))

    async def _accept(self, index: int, queue: asyncio.Queue[Chunk | Exception]) -> None:
        """Writes candidates, round by round, and hands on the one that is taken. Where a further
        round would not end in time, it is the best there is.
        """
        spec, replies = self.spec, list[list[Chunk]]()
        demands = spec.steered.demands
        chosen = Candidates(demands, spec.steered.candidates, spec.put)
        started = time.monotonic()

        async def write(
            number: int, chunks: list[Chunk], put: Mapping[str, Any] | None = None
        ) -> None:
            async with self._places:  # one request does not fill the engine's queue for all others
                await self._write(index, number, chunks.append, put)

        async def met(texts: Sequence[str]) -> list[frozenset[str]]:
            return await self.reader.met(spec.turns, spec.speaker, demands, texts)

        deadline = started + self.seconds * IN_TIME
        for numbers in rounds(spec.steered.candidates, FIRST_ROUND):
            spent = time.monotonic() - started
            ends = started + spent * (1 + len(numbers) / len(replies)) if replies else 0.0
            if ends > deadline:
                break
            chunks_of: list[list[Chunk]] = [[] for _ in numbers]
            in_time = await until(
                deadline,
                [write(number, chunks) for number, chunks in zip(numbers, chunks_of, strict=True)],
            )
            written = [chunks for chunks, ended in zip(chunks_of, in_time, strict=True) if ended]
            if not replies:
                queue.put_nowait(Chunk(index))  # the prompt was read
            replies += written
            texts = [_text_of(chunks) for chunks in written]
            chosen.add(await met(texts), blank=[not text.strip() for text in texts])
            round_took = time.monotonic() - started - spent
            while found := chosen.placement:
                # It takes about as long as a round: to be placed, written and read.
                if time.monotonic() + round_took > deadline:
                    break
                texts = [_text_of(replies[n]) for n in found.candidates]
                opened: list[Chunk] = []
                put = {
                    "dimension": found.dimension,
                    "value": found.value,
                    "attempt": found.attempt,
                    "texts": texts,
                }
                await write(0, opened, put)
                replies.append(opened)
                chosen.add_placed(found, *await met([_text_of(opened)]))
            if chosen.complete or not all(in_time):
                break
        number, shown = chosen.best
        self.candidates[index] = {
            "number": number,
            "written": len(replies),
            "met": {name: name in shown for name in demands},
            "put": sorted(chosen.placed),
        }
        self.first = self.first or time.monotonic()
        for chunk in replies[number]:
            queue.put_nowait(chunk)

    @property
    def usage(self) -> dict[str, int]:
        """Return the numbers of tokens; of the prompt once, however many choices there are."""
        total = self.prompt_tokens + self.completion_tokens
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": total,
        }

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def _candidates(self, choice: int | None = None) -> dict[str, Any]:
        """What became of the candidates of a choice, or of all."""
        found = [one for at, one in sorted(self.candidates.items()) if choice in (None, at)]
        return {"candidates": found} if found else {}

    async def whole(self, chunks: AsyncIterator[Chunk]) -> dict[str, Any]:
        """Return the body of an answer that is not streamed."""
        texts, finished = [""] * self.number, ["stop"] * self.number
        async for chunk in chunks:
            texts[chunk.choice] += chunk.text
            finished[chunk.choice] = chunk.finish_reason or finished[chunk.choice]
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "finish_reason": finish_reason,
                "logprobs": None,
            }
            for index, (text, finish_reason) in enumerate(zip(texts, finished, strict=True))
        ]
        described = self.spec.described() | {"reply_seed": self.seed} | self._candidates()
        waits = [self.spec.waits(index, self.seed, text) for index, text in enumerate(texts)]
        described |= {"pauses": waits} if any(waits) else {}
        return self._head("chat.completion") | {
            "choices": choices,
            "usage": self.usage,
            "vvae": described,
        }

    async def lines(self, chunks: AsyncGenerator[Chunk], *, usage: bool) -> AsyncGenerator[bytes]:
        """Yield the events of an answer that is streamed."""
        head = self._head("chat.completion.chunk")

        def event(choices: list[dict[str, Any]], **further: Any) -> bytes:
            return (
                b"data: "
                + json.dumps(head | {"choices": choices} | further, ensure_ascii=False).encode()
                + b"\n\n"
            )

        def choice(
            index: int, delta: dict[str, str], finish_reason: str | None = None
        ) -> dict[str, Any]:
            return {
                "index": index,
                "delta": delta,
                "finish_reason": finish_reason,
                "logprobs": None,
            }

        described = self.spec.described() | {"reply_seed": self.seed}
        for index in range(self.number):
            further = {"vvae": described} if not index else {}
            yield event([choice(index, {"role": "assistant", "content": ""})], **further)
        try:
            written: dict[int, str] = defaultdict(str)
            async for chunk in chunks:
                written[chunk.choice] += chunk.text
                if chunk.text:
                    yield event([choice(chunk.choice, {"content": chunk.text})])
                if chunk.finish_reason:
                    found = self._candidates(chunk.choice)
                    if waits := self.spec.waits(chunk.choice, self.seed, written[chunk.choice]):
                        found |= {"pauses": [waits]}
                    further = {"vvae": found} if found else {}
                    yield event([choice(chunk.choice, {}, chunk.finish_reason)], **further)
            if usage:
                yield event([], usage=self.usage)
            yield b"data: [DONE]\n\n"
        except ApiError as error:
            self.failed = error.status
            yield b"data: " + json.dumps(error.body).encode() + b"\n\n"
        finally:
            await chunks.aclose()


async def until(deadline: float, work: Iterable[Awaitable[None]]) -> list[bool]:
    """Wait for all of some work, past a deadline for the first that ends alone; return which of it
    has ended. Where one part fails, or nobody waits any more, the rest is ended.

    Args:
        deadline: as `time.monotonic` counts.
    """
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        left = max(0.0, deadline - time.monotonic())
        await asyncio.wait(tasks, timeout=left, return_when=asyncio.FIRST_EXCEPTION)
        if not any(task.done() for task in tasks):
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        ended = [task.done() for task in tasks]
        for task in tasks:
            if task.done():
                task.result()
        return ended
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def unless_gone(receive: Callable[[], Awaitable[Any]], work: Awaitable[T]) -> T:
    """Return the result of some work, which is cancelled where the client goes before.

    Raises:
        ClientGoneError: the client went.
    """
    working, watching = asyncio.ensure_future(work), asyncio.create_task(_gone(receive))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGoneError
        return working.result()
    finally:
        for task in (working, watching):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


async def _gone(receive: Callable[[], Awaitable[Any]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream(Response):
    """A response of server-sent events, until they end, the client goes, or it does not read them;
    `after` is told how it went.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        lines: AsyncGenerator[bytes],
        headers: dict[str, str],
        after: Callable[[str], None],
        *,
        seconds: float,
    ) -> None:
        super().__init__(headers=headers | {"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._lines, self._after, self._seconds = lines, after, seconds

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Sends them."""
        ended = "disconnected"
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async with asyncio.timeout(self._seconds):
                await unless_gone(receive, self._send(send))
            ended = "ok"
        except (
            ClientGoneError,
            OSError,
        ):  # TimeoutError, too: a client that is there and does not read
            pass
        finally:
            self._after(ended)

    async def _send(self, send: Any) -> None:
        async with aclosing(self._lines) as lines:
            async for line in lines:
                await send({"type": "http.response.body", "body": line, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
