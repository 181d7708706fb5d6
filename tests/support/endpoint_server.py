"""A scripted OpenAI-compatible server over real HTTP, in a process of its own or in a thread;
counts what it was asked.

python tests/endpoint_server.py PORT FAULTS     FAULTS: share of requests that go wrong
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from aiohttp import web

from vvae.latent.space import load_space

NAMES = load_space("default").names
LABELS = {"tone": ["tender", "playful", None], "topic": ["games", None]}
FAULTS = ("429", "500", "timeout", "half body", "white space", "length", "filter", "prose", "drop")


def draw(*key: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:6], "big")


class Scripted:
    """Answers are a function of the request; faults of the request and of how often it was made."""

    def __init__(
        self, faults: float = 0.0, *, structures: tuple[str, ...] = ("schema", "json", "text")
    ) -> None:
        self.faults, self.structures = faults, structures
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.faulted: Counter[str] = Counter()
        self.headers: list[dict[str, str]] = []
        self.bodies: list[dict[str, Any]] = []
        self.status: int | None = None
        self.say: str | None = None
        self.pause = 0.0

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_post("/v1/chat/completions", self.complete)
        application.router.add_get("/seen", self.seen)
        return application

    async def seen(self, _: web.Request) -> web.Response:
        return web.json_response({"asked": dict(self.asked), "answered": dict(self.answered)})

    async def complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        prompt = body["messages"][-1]["content"]
        name = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        self.asked[name] += 1
        self.headers.append(dict(request.headers))
        self.bodies.append(body)
        await asyncio.sleep(self.pause)
        if self.status is not None:
            return web.json_response(
                {"error": {"message": f"refused: {prompt}"}}, status=self.status
            )
        kind = (
            body.get("response_format", {})
            .get("type", "text")
            .replace("json_schema", "schema")
            .replace("json_object", "json")
        )
        if kind not in self.structures:
            return web.json_response(
                {"error": {"message": "response_format is not supported"}}, status=400
            )
        if (
            draw("fault", name, self.asked[name]) % 1000
        ) / 1000 < self.faults and "too kind" not in prompt:
            return await self.fault(request, name, prompt)
        self.answered[name] += 1
        return self.said(self.say if self.say is not None else self.answer(kind, prompt))

    def answer(self, kind: str, prompt: str) -> str:
        values: dict[str, str | None] = dict.fromkeys(NAMES)
        for name, labels in LABELS.items():
            values[name] = labels[draw(name, prompt) % len(labels)]
        if "hiking" in prompt.splitlines()[-1]:
            values["hobby"] = "hiking"
        if kind == "text":
            return "\n".join(f"- {name}: {value}" for name, value in values.items())
        return json.dumps(values)

    def said(self, content: str, finish: str | None = "stop") -> web.Response:
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": content},
            "finish_reason": finish,
        }
        return web.json_response(
            {"choices": [choice], "usage": {"prompt_tokens": 100, "completion_tokens": 10}}
        )

    async def fault(self, request: web.Request, name: str, prompt: str) -> web.StreamResponse:
        kind = FAULTS[draw("kind", name, self.asked[name]) % len(FAULTS)]
        self.faulted[kind] += 1
        match kind:
            case "429":
                return web.Response(status=429, headers={"Retry-After": "0.05"})
            case "500":
                return web.Response(status=500, text="sk-secret in a stack trace " + prompt)
            case "timeout":
                await asyncio.sleep(30)
                return web.Response()
            case "half body":
                return web.Response(
                    text='{"choices": [{"index": 0, "mess', content_type="application/json"
                )
            case "drop":
                assert request.transport is not None
                request.transport.close()
                return web.Response()
            case "white space":
                return self.said("{" + " \n" * 2000, "length")
            case "length":
                return self.said('{"catchphrase": "oh', "length")
            case "filter":
                return self.said("", "content_filter")
            case _:
                return self.said("Sure! The reply sounds playful.")


def serving(script: Scripted) -> AbstractContextManager[str]:
    """The base URL of a scripted server in a thread."""
    return in_thread(script.application())


@contextmanager
def in_thread(application: web.Application, *, handler_cancellation: bool = False) -> Iterator[str]:
    """The base URL of an application that is served in a thread.

    Args:
        handler_cancellation: a handler whose client goes is cancelled.
    """
    loop = asyncio.new_event_loop()
    ready: list[str] = []
    up = threading.Event()

    async def start() -> web.AppRunner:
        runner = web.AppRunner(
            application,
            access_log=None,
            shutdown_timeout=0.1,
            handler_cancellation=handler_cancellation,
        )
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=512)
        await site.start()
        ready.append(f"http://127.0.0.1:{runner.addresses[0][1]}/v1")
        return runner

    def work() -> None:
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(start())
        up.set()
        loop.run_forever()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    up.wait()
    try:
        yield ready[0]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)


if __name__ == "__main__":
    import sys

    web.run_app(
        Scripted(float(sys.argv[2])).application(),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        print=None,
        access_log=None,
    )
